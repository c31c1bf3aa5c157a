//! Measures the least that one `exec` on many hosts costs with russh: the bare library with the algorithms of our own
//! sessions. `cargo xtask bench fleet` measures Reveille beside it.
//!
//! Usage: `bare USER KEY PORT ADDRESSES COMMAND`, where ADDRESSES is a file with one address per line. Connects to all
//! of them at once, checks no host keys, and prints their standard output.

use std::borrow::Cow;
use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;

use russh::client::{self, Config};
use russh::keys::{Algorithm, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelMsg, Preferred};

/// Accepts every host key.
struct Trusting;

/// Settings for all hosts.
struct Common {
    config: Arc<Config>,
    user: String,
    key: Arc<PrivateKey>,
    port: u16,
    command: String,
}

// === impl Trusting ===

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

// === impl Common ===

impl Common {
    /// Runs the command on one host and returns its output.
    async fn run(&self, address: &str) -> Result<Vec<u8>, russh::Error> {
        let mut handle = client::connect(Arc::clone(&self.config), (address, self.port), Trusting).await?;
        let key = PrivateKeyWithHashAlg::new(Arc::clone(&self.key), None);
        let answer = handle.authenticate_publickey(self.user.as_str(), key).await?;
        if !answer.success() {
            return Err(russh::Error::NotAuthenticated);
        }
        let mut channel = handle.channel_open_session().await?;
        channel.exec(true, self.command.as_str()).await?;
        let mut output = Vec::new();
        while let Some(message) = channel.wait().await {
            if let ChannelMsg::Data { data } = message {
                output.extend_from_slice(&data);
            }
        }
        handle
            .disconnect(russh::Disconnect::ByApplication, "", "")
            .await?;
        Ok(output)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [user, key, port, addresses, command] = arguments.as_slice() else {
        return Err("usage: bare USER KEY PORT ADDRESSES COMMAND".into());
    };
    // The algorithms of our own sessions: no certificates, Ed25519 first, no SHA-1; otherwise the library's defaults.
    let preferred = Preferred {
        key: Cow::Borrowed(&[Algorithm::Ed25519]),
        host_key_certificates: Cow::Borrowed(&[]),
        ..Preferred::default()
    };
    let config = Config {
        nodelay: true,
        preferred,
        ..Config::default()
    };
    let common = Arc::new(Common {
        config: Arc::new(config),
        user: user.clone(),
        key: Arc::new(russh::keys::load_secret_key(key, None)?),
        port: port.parse()?,
        command: command.clone(),
    });
    let addresses = std::fs::read_to_string(addresses)?;
    // One thread, as in Reveille.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let hosts: Vec<_> = addresses
            .split_whitespace()
            .map(|address| {
                let (common, address) = (Arc::clone(&common), address.to_owned());
                tokio::spawn(async move { common.run(&address).await })
            })
            .collect();
        let mut stdout = std::io::stdout().lock();
        for host in hosts {
            match host.await? {
                Ok(output) => stdout.write_all(&output)?,
                Err(error) => writeln!(stdout, "{error}")?,
            }
        }
        Ok(())
    })
}
