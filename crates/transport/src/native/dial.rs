//! Opens the byte stream under an SSH connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use reveille_account::{Class, Phase};
use reveille_text::duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::error::ConnectError;
use crate::target::{Deadlines, Target};

/// How long to wait for an address before trying the next one in parallel.
const HEAD_START: Duration = Duration::from_millis(250);

/// Resolves and connects.
pub(crate) async fn tcp(deadlines: &Deadlines, target: &Target) -> Result<TcpStream, ConnectError> {
    let addresses = resolve(deadlines, target).await?;
    let within = target.connect_within(deadlines);
    let stream = match timeout(within, dial(&addresses)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(Some((address, error)))) => return Err(tcp_error(&address, &error)),
        Ok(Err(None)) => {
            return Err(ConnectError::new(
                Phase::Resolve,
                Class::Dns,
                format!("{} has no address", target.address),
            ));
        }
        Err(_) => {
            let message = format!(
                "no answer from {} within {}",
                target.endpoint(),
                duration::shown(within)
            );
            return Err(ConnectError::new(Phase::Tcp, Class::ConnectTimeout, message));
        }
    };
    // Small packets go both ways; waiting to fill them costs a round trip each.
    stream
        .set_nodelay(true)
        .map_err(|error| ConnectError::new(Phase::Tcp, Class::SshInitiatedFailed, error.to_string()))?;
    Ok(stream)
}

/// Connects to the first of several addresses that answers. Each has a head start over the next (RFC 8305), so that an
/// unreachable one does not use up the time of all. Fails with the last error.
async fn dial(addresses: &[SocketAddr]) -> Result<TcpStream, Option<(SocketAddr, io::Error)>> {
    if let [address] = *addresses {
        return TcpStream::connect(address)
            .await
            .map_err(|error| Some((address, error)));
    }
    let mut dialing = JoinSet::new();
    let mut next = addresses.iter().copied();
    let mut last = None;
    loop {
        let started = next.next();
        if let Some(address) = started {
            dialing.spawn(async move { (address, TcpStream::connect(address).await) });
        } else if dialing.is_empty() {
            return Err(last);
        }
        let head_start = async {
            match started {
                Some(_) => sleep(HEAD_START).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(Ok((address, result))) = dialing.join_next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some((address, error)),
            },
            () = head_start => {}
        }
    }
}

async fn resolve(deadlines: &Deadlines, target: &Target) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Ok(ip) = target.address.parse() {
        return Ok(vec![SocketAddr::new(ip, target.port)]);
    }
    let failed = |why: String| {
        ConnectError::new(
            Phase::Resolve,
            Class::Dns,
            format!("can't resolve {}: {why}", target.address),
        )
    };
    let within = deadlines.resolve.min(target.connect_within(deadlines));
    match timeout(
        within,
        tokio::net::lookup_host((target.address.as_str(), target.port)),
    )
    .await
    {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no answer within {}", duration::shown(within)))),
    }
}

fn tcp_error(address: &SocketAddr, error: &io::Error) -> ConnectError {
    let class = match error.kind() {
        io::ErrorKind::ConnectionRefused => Class::ConnectRefused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Class::SshInitiatedFailed,
        _ => Class::ConnectTimeout,
    };
    let message = match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("{address} refused the connection"),
        _ => format!("can't connect to {address}: {error}"),
    };
    ConnectError::new(Phase::Tcp, class, message)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    /// A listener with a full queue, which the kernel does not answer; returned with the connections that fill the
    /// queue.
    fn silent() -> (TcpListener, Vec<std::net::TcpStream>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let address = listener.local_addr().unwrap();
        let within = Duration::from_millis(200);
        let full = std::iter::from_fn(|| std::net::TcpStream::connect_timeout(&address, within).ok());
        let full = full.collect();
        (listener, full)
    }

    #[tokio::test]
    async fn an_address_that_leads_nowhere_keeps_no_other_waiting() {
        let (nowhere, _full) = silent();
        let here = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap();
        let (nowhere, good) = (nowhere.local_addr().unwrap(), here.local_addr().unwrap());
        for order in [
            vec![nowhere, good],
            vec![closed, nowhere, good],
            vec![good],
            vec![good, nowhere],
        ] {
            let stream = dial(&order).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), good, "{order:?}");
        }
        let (address, error) = dial(&[closed, closed]).await.unwrap_err().unwrap();
        assert_eq!(
            (address, error.kind()),
            (closed, io::ErrorKind::ConnectionRefused)
        );
        assert!(dial(&[]).await.unwrap_err().is_none());
    }
}
