//! A connection that asks one thing after the other: just enough of HTTP/1.1.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer may take so long.
const PATIENCE: Duration = Duration::from_mins(2);

/// A connection, opened when it is needed.
#[derive(Debug)]
pub(super) struct Connection {
    address: SocketAddr,
    open: Option<BufReader<TcpStream>>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) location: Option<String>,
    pub(super) body: String,
}

// === impl Connection ===

impl Connection {
    pub(super) fn to(address: SocketAddr) -> Self {
        Self { address, open: None }
    }

    /// Asks; a server that hangs up instead of answering is an error.
    pub(super) fn ask(&mut self, method: &str, target: &str, headers: &str) -> io::Result<Reply> {
        let mut stream = if let Some(stream) = self.open.take() {
            stream
        } else {
            let stream = TcpStream::connect(self.address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            BufReader::new(stream)
        };
        let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        stream.get_mut().write_all(request.as_bytes())?;
        let reply = read(&mut stream)?;
        self.open = Some(stream);
        Ok(reply)
    }
}

fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Reply> {
    let broken = || io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed");
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .ok_or_else(broken)?;
    let (mut length, mut location) = (0, None);
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(broken());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(|_| broken())?;
        } else if name.eq_ignore_ascii_case("location") {
            location = Some(value.trim().to_owned());
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Reply {
        status,
        location,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}
