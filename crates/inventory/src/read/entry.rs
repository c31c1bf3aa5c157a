//! Parses one entry of a list or a host line: `user@name:port`; the name may have ranges or be an IPv6 address.

use reveille_account::Fault;

use crate::names::is_ipv6;

/// A parsed entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) user: Option<&'a str>,
    /// A name, possibly with ranges, or an address without brackets.
    pub(crate) name: &'a str,
    /// The byte of the entry at which the name starts.
    pub(crate) offset: usize,
    pub(crate) port: Option<u16>,
    /// The name is an IPv6 address; it has no ranges.
    pub(crate) address: bool,
}

/// Parses an entry and checks the characters of its name.
pub(crate) fn parse(text: &str) -> Result<Entry<'_>, Fault> {
    let (user, rest) = match text.rsplit_once('@') {
        Some(("", group)) => {
            let fault = Fault::new(0, "no user before `@`");
            return Err(if group.is_empty() {
                fault
            } else {
                fault.hint(format!("choose a group of an inventory by `-l {group}`"))
            });
        }
        Some((user, rest)) => (Some(user), rest),
        None => (None, text),
    };
    if let Some(user) = user
        && let Some((at, bad)) = user
            .char_indices()
            .find(|(_, c)| !(c.is_alphanumeric() || "._-$+\\@".contains(*c)))
    {
        return Err(Fault::new(at, format!("a user name can't contain `{bad}`")));
    }
    let start = text.len() - rest.len();
    let whole = Entry {
        user,
        name: rest,
        offset: start,
        port: None,
        address: true,
    };
    if let Some(inside) = rest.strip_prefix('[')
        && let Some((address, after)) = inside.split_once(']')
        && is_ipv6(address)
    {
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port_of(port).map_err(|fault| fault.shifted(text.len() - port.len()))?),
            None if after.is_empty() => None,
            None => {
                return Err(Fault::new(
                    text.len() - after.len(),
                    format!("`{after}` after an address"),
                ));
            }
        };
        return Ok(Entry {
            name: address,
            offset: start + 1,
            port,
            ..whole
        });
    }
    if is_ipv6(rest) {
        return Ok(whole);
    }
    let (name, port) = split_port(rest).map_err(|fault| fault.shifted(start))?;
    check_name(name).map_err(|fault| fault.shifted(start))?;
    Ok(Entry {
        name,
        port,
        address: false,
        ..whole
    })
}

fn port_of(text: &str) -> Result<u16, Fault> {
    reveille_ssh_config::port(text).map_err(|message| Fault::new(0, message))
}

/// Splits at the colon outside brackets.
fn split_port(text: &str) -> Result<(&str, Option<u16>), Fault> {
    let after_ranges = text.rfind(']').map_or(0, |at| at + 1);
    if let Some(at) = text[after_ranges..].find('[') {
        return Err(Fault::new(after_ranges + at, "the range's `[` is never closed"));
    }
    let Some(colon) = text[after_ranges..].find(':').map(|at| after_ranges + at) else {
        return Ok((text, None));
    };
    let (name, port) = (&text[..colon], &text[colon + 1..]);
    if port.is_empty() {
        return Err(Fault::new(colon, "no port after `:`")
            .hint("if this is a YAML inventory, name the file with `.yml` or `.yaml`"));
    }
    if port.contains(':') {
        return Err(Fault::new(colon, format!("`{text}` is not an IPv6 address")));
    }
    let port = port_of(port).map_err(|fault| fault.shifted(colon + 1))?;
    Ok((name, Some(port)))
}

fn check_name(name: &str) -> Result<(), Fault> {
    if name.is_empty() {
        return Err(Fault::new(0, "no host name"));
    }
    if name.starts_with('-') {
        let fault = Fault::new(0, "a host name can't begin with `-`");
        return Err(if name == "---" {
            fault.hint("if this is a YAML inventory, name the file with `.yml` or `.yaml`")
        } else {
            fault
        });
    }
    if name.chars().all(|c| c == '.') {
        return Err(Fault::new(0, format!("`{name}` is not a host name")));
    }
    let mut in_range = false;
    for (at, character) in name.char_indices() {
        match character {
            '[' => in_range = true,
            ']' => in_range = false,
            ',' | ':' if in_range => {}
            _ if character.is_alphanumeric() || "._-+%".contains(character) => {}
            '=' => {
                return Err(Fault::new(at, "a host name can't contain `=`")
                    .hint("a line begins with the host's name; its vars follow"));
            }
            _ if character.is_control() => {
                return Err(Fault::new(at, "a host name can't contain a control character"));
            }
            _ => {
                return Err(Fault::new(at, format!("a host name can't contain `{character}`")));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Option<&str>, &str, Option<u16>) {
        let entry = parse(text).expect(text);
        assert_eq!(&text[entry.offset..entry.offset + entry.name.len()], entry.name);
        (entry.user, entry.name, entry.port)
    }

    #[test]
    fn entries_come_apart() {
        assert_eq!(parts("web1"), (None, "web1", None));
        assert_eq!(parts("deploy@web1:2222"), (Some("deploy"), "web1", Some(2222)));
        assert_eq!(parts("web[01:50]:22"), (None, "web[01:50]", Some(22)));
        assert_eq!(parts("[::1]:22"), (None, "::1", Some(22)));
        assert_eq!(parts("root@[fe80::1%eth0]"), (Some("root"), "fe80::1%eth0", None));
        assert_eq!(parts("::1"), (None, "::1", None));
        assert_eq!(parts("[1:3].example.org"), (None, "[1:3].example.org", None));
    }

    #[test]
    fn bad_entries_are_placed() {
        for (text, offset) in [
            ("web1:", 4),
            ("web1:0", 5),
            ("web1:65536", 5),
            ("u@web1:x", 7),
            ("@web1", 0),
            ("-oProxyCommand=x", 0),
            ("we/b", 2),
            ("a=b", 1),
            ("1:2:3", 1),
            ("[::1]x", 5),
            ("we\u{7}b", 2),
            ("..", 0),
        ] {
            assert_eq!(parse(text).expect_err(text).offset, offset, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[a-c@\\[\\]:%.0-9é-]{0,16}") {
            let _ = parse(&text);
        }
    }
}
