//! Jump hosts, as `ssh -J` and `ProxyJump` name them.

/// A jump host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The user to log in as there.
    pub user: Option<String>,
    /// Its name or address, without brackets.
    pub address: String,
    /// Its port.
    pub port: Option<u16>,
}

// === impl Hop ===

impl Hop {
    /// Parses the argument of `ssh -J`: `[USER@]HOST[:PORT]` or `ssh://[USER@]HOST[:PORT]`, separated by commas; an
    /// IPv6 address with a port needs brackets. Empty for `none`.
    ///
    /// # Errors
    ///
    /// Names the first part that is not a jump host.
    pub fn chain(text: &str) -> Result<Vec<Self>, String> {
        if text.eq_ignore_ascii_case("none") {
            return Ok(Vec::new());
        }
        text.split(',').map(|hop| Self::parse(hop.trim())).collect()
    }

    /// Parses one jump host.
    ///
    /// # Errors
    ///
    /// `text` is not a jump host.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a jump host");
        // ssh runs jumps through a shell and refuses these characters too.
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || "'`\"\\;&<>|()".contains(c);
        if text.contains(is_odd) {
            return Err(wrong());
        }
        let (uri, plain) = match text.strip_prefix("ssh://") {
            Some(rest) => (true, rest.strip_suffix('/').unwrap_or(rest)),
            None => (false, text),
        };
        let (user, host) = match plain.rsplit_once('@') {
            Some(("", _)) => return Err(wrong()),
            Some((user, host)) => (Some(user), host),
            None => (None, plain),
        };
        let (address, digits) = if let Some(inside) = host.strip_prefix('[') {
            let (address, after) = inside.split_once(']').ok_or_else(wrong)?;
            match after.strip_prefix(':') {
                Some(digits) => (address, Some(digits)),
                None if after.is_empty() => (address, None),
                None => return Err(wrong()),
            }
        } else {
            match host.split_once(':') {
                Some((address, digits)) => (address, Some(digits)),
                None => (host, None),
            }
        };
        let port = digits.map(port).transpose()?;
        if address.is_empty() || address.starts_with('-') || (!uri && address.contains('/')) {
            return Err(wrong());
        }
        Ok(Self {
            user: user.map(str::to_owned),
            address: address.to_owned(),
            port,
        })
    }
}

/// Parses a TCP port.
///
/// # Errors
///
/// `text` is not a number between 1 and 65535.
pub fn port(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 && !text.starts_with('+') => Ok(port),
        _ => Err(format!("`{text}` is not a port (1 to 65535)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(user: Option<&str>, address: &str, port: Option<u16>) -> Hop {
        Hop {
            user: user.map(str::to_owned),
            address: address.to_owned(),
            port,
        }
    }

    #[test]
    fn chains_come_apart() {
        assert_eq!(
            Hop::chain("a, me@b:23,ssh://[::1]:24/"),
            Ok(vec![
                hop(None, "a", None),
                hop(Some("me"), "b", Some(23)),
                hop(None, "::1", Some(24)),
            ])
        );
        assert_eq!(Hop::chain("NONE"), Ok(Vec::new()));
        assert_eq!(hop(Some("a@b"), "c", None), Hop::parse("a@b@c").expect("good"));
        for wrong in [
            "", "@a", "a:0", "a:b", "[::1", "[::1]x", "-a", "a/b", "a,,b", "::1", "a b", "a;b", "x'@a",
            "a b", "a;b", "x'@a",
        ] {
            assert!(Hop::chain(wrong).is_err(), "{wrong}");
        }
    }
}
