//! Asks an SSH agent for its keys, before anything is dispatched (draft-ietf-sshm-ssh-agent).

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use russh::keys::PublicKey;
use russh::keys::key::parse_public_key;
use russh::keys::ssh_encoding::Decode as _;
use russh::keys::ssh_key::public::KeyData;

/// How long an agent may take to list its keys.
const AGENT_REPLY: Duration = Duration::from_secs(5);
/// The most to read of an agent's answer, in bytes.
const AGENT_LIMIT: u32 = 1024 * 1024;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;

/// The keys of the agent at `socket`; none if the agent does not answer, which authentication will report.
pub(crate) fn held(socket: &Path) -> Vec<KeyData> {
    ask(socket).unwrap_or_default()
}

fn ask(socket: &Path) -> io::Result<Vec<KeyData>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(AGENT_REPLY))?;
    stream.write_all(&[0, 0, 0, 1, REQUEST_IDENTITIES])?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > AGENT_LIMIT {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer)?;
    Ok(parse(&answer).unwrap_or_default())
}

fn parse(answer: &[u8]) -> Option<Vec<KeyData>> {
    let (kind, mut rest) = answer.split_first()?;
    if *kind != IDENTITIES_ANSWER {
        return None;
    }
    let count = u32::decode(&mut rest).ok()?;
    let mut keys = Vec::new();
    for _ in 0..count {
        let (blob, _comment) = (string(&mut rest)?, string(&mut rest)?);
        // We can't use keys of unknown kinds.
        if let Ok(key) = parse_public_key(&blob) {
            keys.push(PublicKey::key_data(&key).clone());
        }
    }
    Some(keys)
}

fn string(rest: &mut &[u8]) -> Option<Vec<u8>> {
    Vec::decode(rest).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_answer_panics(mut answer: Vec<u8>) {
            answer.insert(0, IDENTITIES_ANSWER);
            let _ = parse(&answer);
        }
    }
}
