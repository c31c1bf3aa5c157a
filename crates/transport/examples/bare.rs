//! The least that one `exec` on many hosts costs with russh: the library alone, with the algorithms that our own sessions
//! ask for, and nothing around it. `cargo xtask bench fleet` measures Reveille beside it.
//!
//! Usage: `bare USER KEY PORT ADDRESSES COMMAND`, where ADDRESSES is a file with an address a line. All are connected to at
//! once, no host key is checked, and what each of them writes to its standard output is printed.

use std::borrow::Cow;
use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;

use russh::client::{self, Config};
use russh::keys::{Algorithm, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelMsg, Preferred};

/// Takes every host key.
struct Trusting;

/// What is the same for all hosts.
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
    /// What the command writes on one host.
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
    // The choice of our own sessions: no certificates, Ed25519 first, no SHA-1; all else is the library's own.
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
    // One thread, as Reveille has for as many sessions.
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
