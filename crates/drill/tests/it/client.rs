//! A plain SSH client based on russh, to test the fleet from outside.

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use reveille_drill::{Fault, Fleet, FleetSpec};
use russh::client::{Config, Handle, Handler, Msg};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than anything takes without a stall, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long a test waits to detect a stall.
pub(crate) const STALL: Duration = Duration::from_millis(300);

/// Records the host key.
pub(crate) struct Watcher {
    key: Arc<std::sync::Mutex<String>>,
}

impl Handler for Watcher {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        if let PublicKeyOrCertificate::PublicKey { key, .. } = key {
            *self.key.lock().unwrap() = key.to_openssh().unwrap();
        }
        Ok(true)
    }
}

/// The result of a command.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) status: Option<u32>,
    pub(crate) signal: Option<String>,
    pub(crate) closed: bool,
}

pub(crate) struct Connected {
    pub(crate) session: Handle<Watcher>,
    pub(crate) host_key: String,
}

/// A fleet whose hosts answer immediately.
pub(crate) fn fleet(hosts: u32, faults: &[&str]) -> Fleet {
    Fleet::start(FleetSpec {
        hosts,
        faults: faults.iter().map(|text| text.parse::<Fault>().unwrap()).collect(),
        latency: Duration::ZERO,
        ..FleetSpec::default()
    })
    .unwrap()
}

pub(crate) fn address(fleet: &Fleet, host: usize) -> SocketAddrV4 {
    fleet.addresses().nth(host).unwrap().1
}

/// Reads until the end, a reset, or `STALL` of silence.
pub(crate) async fn read_raw(fleet: &Fleet, host: usize, say: &[u8]) -> (Vec<u8>, Option<io::Result<()>>) {
    let stream = TcpStream::connect(address(fleet, host)).await.unwrap();
    read_from(stream, say).await
}

/// Like [`read_raw`], on an existing connection.
pub(crate) async fn read_from(mut stream: TcpStream, say: &[u8]) -> (Vec<u8>, Option<io::Result<()>>) {
    // The host may have reset the connection already.
    let _ = stream.write_all(say).await;
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while seen.len() < 100_000 {
        match timeout(STALL, stream.read(&mut buffer)).await {
            Err(_) => return (seen, None),
            Ok(Ok(0)) => return (seen, Some(Ok(()))),
            Ok(Ok(count)) => seen.extend(&buffer[..count]),
            Ok(Err(error)) => return (seen, Some(Err(error))),
        }
    }
    (seen, None)
}

/// Connects and authenticates with the fleet's key.
pub(crate) async fn connect(fleet: &Fleet, host: usize) -> Result<Connected, russh::Error> {
    connect_with(fleet, host, &fleet.client_key().unwrap()).await
}

/// Connects and authenticates with the key in an OpenSSH file.
pub(crate) async fn connect_with(
    fleet: &Fleet,
    host: usize,
    client_key: &str,
) -> Result<Connected, russh::Error> {
    connect_to(address(fleet, host), client_key).await
}

/// Connects and authenticates to any server.
pub(crate) async fn connect_to(address: SocketAddrV4, client_key: &str) -> Result<Connected, russh::Error> {
    let mut connected = greet(address).await?;
    let client_key = PrivateKey::from_openssh(client_key).unwrap();
    let client_key = PrivateKeyWithHashAlg::new(Arc::new(client_key), None);
    let result = connected
        .session
        .authenticate_publickey(user(), client_key)
        .await?;
    if !result.success() {
        return Err(russh::Error::NotAuthenticated);
    }
    Ok(connected)
}

/// The user to log in as, which must exist on a real server.
pub(crate) fn user() -> String {
    let output = std::process::Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Connects up to the end of the key exchange.
pub(crate) async fn greet(address: SocketAddrV4) -> Result<Connected, russh::Error> {
    let key = Arc::default();
    let watcher = Watcher {
        key: Arc::clone(&key),
    };
    let connecting = russh::client::connect(Arc::new(Config::default()), address, watcher);
    let session = timeout(PATIENCE, connecting).await.expect("it stalls")?;
    let host_key = key.lock().unwrap().clone();
    Ok(Connected { session, host_key })
}

/// Runs a command to its end, or until nothing arrives for `patience`.
pub(crate) async fn exec(connected: &Connected, command: &str, input: &[u8], patience: Duration) -> Ended {
    let channel = connected.session.channel_open_session().await.unwrap();
    exec_on(channel, command, input, patience).await
}

pub(crate) async fn exec_on(
    mut channel: Channel<Msg>,
    command: &str,
    input: &[u8],
    patience: Duration,
) -> Ended {
    channel.exec(true, command).await.unwrap();
    let mut ended = Ended::default();
    let mut sent = false;
    loop {
        let message = match tokio::time::timeout(patience, channel.wait()).await {
            Ok(Some(message)) => message,
            Ok(None) => {
                ended.closed = true;
                return ended;
            }
            Err(_) => return ended,
        };
        match message {
            ChannelMsg::Success if !sent => {
                sent = true;
                channel.data(input).await.unwrap();
                channel.eof().await.unwrap();
            }
            ChannelMsg::Data { data } => ended.stdout.extend(&data),
            ChannelMsg::ExtendedData { data, .. } => ended.stderr.extend(&data),
            ChannelMsg::ExitStatus { exit_status } => ended.status = Some(exit_status),
            ChannelMsg::ExitSignal { signal_name, .. } => ended.signal = Some(format!("{signal_name:?}")),
            ChannelMsg::Failure => {
                ended.signal = Some("refused".to_owned());
                return ended;
            }
            _ => {}
        }
    }
}

/// Connects and runs one command.
pub(crate) async fn run(fleet: &Fleet, host: usize, command: &str) -> Ended {
    let connected = connect(fleet, host).await.unwrap();
    exec(&connected, command, b"", PATIENCE).await
}
