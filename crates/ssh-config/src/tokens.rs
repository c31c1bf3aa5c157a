//! Tokens (`%h`), variables (`${NAME}`) and `~` in values.

use std::fs;
use std::path::PathBuf;

use sha1::{Digest as _, Sha1};

use crate::{Hop, Local};

/// The most to read of the list of users, in bytes.
const MAX_USERS_BYTES: u64 = 16 << 20;

/// The values of tokens.
pub(crate) struct Tokens<'a> {
    pub(crate) local: &'a Local,
    /// `%h`: the name to connect to.
    pub(crate) host: &'a str,
    /// `%n`: the name in the query.
    pub(crate) original: &'a str,
    /// `%k`: the name under which the host key is known.
    pub(crate) key_alias: &'a str,
    pub(crate) port: u16,
    pub(crate) user: &'a str,
    /// `%j`: the last jump host.
    pub(crate) jump: &'a str,
}

// === impl Tokens ===

impl Tokens<'_> {
    /// Expands a path; a relative one stays relative to the working directory, as with `ssh`.
    pub(crate) fn path(&self, text: &str) -> Result<PathBuf, String> {
        let text = self.put_in(&self.variables(text)?)?;
        let Some(rest) = text.strip_prefix('~') else {
            return Ok(text.into());
        };
        let (user, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let home = if user.is_empty() {
            self.local.home.clone()
        } else {
            home_of(user).ok_or_else(|| format!("`~{user}` has no home directory"))?
        };
        Ok(home.join(rest.trim_start_matches('/')))
    }

    /// Expands the tokens in a text.
    pub(crate) fn put_in(&self, text: &str) -> Result<String, String> {
        if !text.contains('%') {
            return Ok(text.to_owned());
        }
        let mut done = String::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                done.push(character);
                continue;
            }
            match characters.next() {
                Some('%') => done.push('%'),
                Some('h') => done.push_str(self.host),
                Some('n') => done.push_str(self.original),
                Some('k') => done.push_str(self.key_alias),
                Some('p') => done.push_str(&self.port.to_string()),
                Some('r') => done.push_str(self.user),
                Some('u') => done.push_str(&self.local.user),
                Some('i') => done.push_str(&self.local.uid.to_string()),
                Some('d') => done.push_str(&self.local.home.to_string_lossy()),
                Some('l') => done.push_str(&self.local.host_name),
                Some('L') => done.push_str(self.short_name()),
                Some('j') => done.push_str(self.jump),
                Some('C') => done.push_str(&self.hash()),
                Some(other) => {
                    return Err(format!(
                        "there is no token `%{other}`; write `%%` for a percent sign"
                    ));
                }
                None => return Err("it ends in a single `%`; write `%%` for a percent sign".into()),
            }
        }
        Ok(done)
    }

    /// Expands the tokens in jump hosts.
    pub(crate) fn hops(&self, hops: &[Hop]) -> Result<Vec<Hop>, String> {
        hops.iter()
            .map(|hop| {
                Ok(Hop {
                    user: hop.user.as_deref().map(|user| self.put_in(user)).transpose()?,
                    address: self.put_in(&hop.address)?,
                    port: hop.port,
                })
            })
            .collect()
    }

    fn short_name(&self) -> &str {
        self.local.host_name.split('.').next().unwrap_or_default()
    }

    /// `%C`: the hash of `%l%h%p%r%j`.
    fn hash(&self) -> String {
        let mut hash = Sha1::new();
        hash.update(&self.local.host_name);
        hash.update(self.host);
        hash.update(self.port.to_string());
        hash.update(self.user);
        hash.update(self.jump);
        data_encoding::HEXLOWER.encode(&hash.finalize())
    }

    /// Expands `${NAME}`.
    #[expect(clippy::unused_self, reason = "it is one of the things that are put in")]
    fn variables(&self, text: &str) -> Result<String, String> {
        let mut done = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').ok_or("`${` is never closed")?;
            let value =
                std::env::var(name).map_err(|_| format!("the environment variable `{name}` is not set"))?;
            done.push_str(before);
            done.push_str(&value);
            rest = after;
        }
        Ok(done + rest)
    }
}

/// Looks up the home directory of another user.
pub(crate) fn home_of(user: &str) -> Option<PathBuf> {
    field_of(|fields| fields.first() == Some(&user), 5).map(PathBuf::from)
}

/// Looks up the name of a user id.
pub(crate) fn user_of(uid: u32) -> Option<String> {
    let uid = uid.to_string();
    field_of(|fields| fields.get(2) == Some(&uid.as_str()), 0)
}

fn field_of(is: impl Fn(&[&str]) -> bool, field: usize) -> Option<String> {
    use std::io::Read as _;

    let mut text = String::new();
    let file = fs::File::open("/etc/passwd").ok()?;
    file.take(MAX_USERS_BYTES).read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        is(&fields).then(|| fields.get(field).map(|text| (*text).to_owned()))?
    })
}
