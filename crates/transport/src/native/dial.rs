//! The open byte stream under an SSH connection.

use std::io;
use std::net::SocketAddr;

use reveille_account::{Class, Phase};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::error::ConnectError;
use crate::target::{Deadlines, Target};

/// Resolves and connects.
pub(crate) async fn tcp(deadlines: &Deadlines, target: &Target) -> Result<TcpStream, ConnectError> {
    let addresses = resolve(deadlines, target).await?;
    let dialing = async {
        let mut last = None;
        for address in &addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some((address, error)),
            }
        }
        Err(last)
    };
    let within = target.connect_within(deadlines);
    let stream = match timeout(within, dialing).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(Some((address, error)))) => return Err(tcp_error(address, &error)),
        Ok(Err(None)) => {
            return Err(ConnectError::new(
                Phase::Resolve,
                Class::Dns,
                format!("{} has no address", target.address),
            ));
        }
        Err(_) => {
            let message = format!("no answer from {} within {within:?}", target.endpoint());
            return Err(ConnectError::new(Phase::Tcp, Class::ConnectTimeout, message));
        }
    };
    // Small packets go both ways; waiting to fill them costs a round trip each.
    stream
        .set_nodelay(true)
        .map_err(|error| ConnectError::new(Phase::Tcp, Class::SshInitiatedFailed, error.to_string()))?;
    Ok(stream)
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
    match timeout(
        deadlines.resolve,
        tokio::net::lookup_host((target.address.as_str(), target.port)),
    )
    .await
    {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no answer within {:?}", deadlines.resolve))),
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
