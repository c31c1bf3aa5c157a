//! A connection that sends one request after the other: just enough of HTTP/1.1.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// A connection, opened when it is needed.
#[derive(Debug)]
pub(super) struct Connection {
    address: SocketAddr,
    open: Option<TcpStream>,
    buffer: Vec<u8>,
}

/// An answer, valid until the next request.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    head: &'a str,
    pub(super) body: &'a [u8],
}

/// A connection for blocking callers.
#[derive(Debug)]
pub(super) struct Client {
    runtime: Runtime,
    connection: Connection,
}

/// An answer to a blocking caller.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) location: Option<String>,
    pub(super) body: String,
}

// === impl Connection ===

impl Connection {
    pub(super) fn to(address: SocketAddr) -> Self {
        Self {
            address,
            open: None,
            buffer: Vec::with_capacity(64 << 10),
        }
    }

    /// Sends a request and reads the whole answer. After an error, the next request opens another connection.
    pub(super) async fn ask(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        let stream = self.open.take();
        let buffer = &mut self.buffer;
        let asked = tokio::time::timeout(PATIENCE, exchange(stream, self.address, request, buffer));
        let (stream, head) = asked.await??;
        self.open = Some(stream);
        let broken = |_| io::Error::from(io::ErrorKind::InvalidData);
        let head = std::str::from_utf8(&buffer[..head]).map_err(broken)?;
        Ok(Answer {
            status: head.get(9..12).and_then(|word| word.parse().ok()).unwrap_or(0),
            head,
            body: &buffer[head.len() + 4..],
        })
    }
}

/// Returns the stream and the length of the answer's head.
async fn exchange(
    stream: Option<TcpStream>,
    address: SocketAddr,
    request: &[u8],
    buffer: &mut Vec<u8>,
) -> io::Result<(TcpStream, usize)> {
    let mut stream = match stream {
        Some(stream) => stream,
        None => TcpStream::connect(address).await?,
    };
    stream.set_nodelay(true)?;
    stream.write_all(request).await?;
    buffer.clear();
    let mut expected = None;
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if expected.is_none()
            && let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n")
        {
            let text = String::from_utf8_lossy(&buffer[..head]);
            let length = header(&text, "content-length").and_then(|value| value.parse().ok());
            expected = Some((head, length.unwrap_or(0)));
        }
        if let Some((head, length)) = expected
            && buffer.len() >= head + 4 + length
        {
            return Ok((stream, head));
        }
    }
}

fn header<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
    Some(value.trim())
}

// === impl Client ===

impl Client {
    pub(super) fn to(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            runtime: Builder::new_current_thread().enable_all().build()?,
            connection: Connection::to(address),
        })
    }

    /// Sends a request and waits for the answer; a server that closes the connection instead is an error.
    pub(super) fn ask(&mut self, method: &str, target: &str, headers: &str) -> io::Result<Reply> {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        let answer = self.runtime.block_on(self.connection.ask(request.as_bytes()))?;
        Ok(Reply {
            status: answer.status,
            location: header(answer.head, "location").map(str::to_owned),
            body: String::from_utf8_lossy(answer.body).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_connection_is_kept_until_the_server_closes_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for head in [
                "200 OK\r\nContent-Length: 2",
                "302 Found\r\nlocation: http://a/\r\ncontent-length: 2",
            ] {
                let _ = stream.read(&mut [0; 1000]).unwrap();
                // In two parts, as a slow server sends it.
                write!(stream, "HTTP/1.1 {head}").unwrap();
                write!(stream, "\r\n\r\nok").unwrap();
            }
            // The third request gets no answer.
            let _ = stream.read(&mut [0; 1000]).unwrap();
        });
        let mut client = Client::to(address).unwrap();
        let first = client.ask("GET", "/", "").unwrap();
        assert_eq!(
            (first.status, first.location, first.body.as_str()),
            (200, None, "ok")
        );
        let second = client.ask("GET", "/", "X: y\r\n").unwrap();
        assert_eq!(
            (second.status, second.location.as_deref()),
            (302, Some("http://a/"))
        );
        assert_eq!(second.body, "ok");
        client.ask("GET", "/", "").unwrap_err();
        server.join().unwrap();
    }
}
