//! Reads what `ls` and `sha256sum` print of a host's files.

use std::collections::HashMap;

use super::is_hash;

/// A file, directory or link on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) kind: u8,
    pub(super) mode: u32,
    /// `ls` shows that it has an ACL.
    pub(super) acl: bool,
    pub(super) size: u64,
    /// User and group ids.
    pub(super) owner: (String, String),
    /// The target of a link.
    pub(super) target: Vec<u8>,
}

/// Parses a line of `ls -ldn`: mode, links, user, group, size, three words of a date, name.
pub(super) fn parse_listed(line: &[u8]) -> Option<(Vec<u8>, Found)> {
    let mut rest = line;
    let mut word = || {
        let start = rest.iter().position(|byte| *byte != b' ')?;
        rest = &rest[start..];
        let end = rest.iter().position(|byte| *byte == b' ')?;
        let (word, after) = rest.split_at(end);
        rest = after;
        std::str::from_utf8(word).ok()
    };
    let (mode, _links) = (word()?, word()?);
    let mut id = || word().filter(|id| id.bytes().all(|byte| byte.is_ascii_digit()));
    let owner = (id()?.to_owned(), id()?.to_owned());
    let size = word()?.parse().ok()?;
    let _date = (word()?, word()?, word()?);
    let name = rest.get(1..)?;
    let kind = *mode.as_bytes().first()?;
    let (name, target) = if kind == b'l' {
        let arrow = name.windows(4).position(|bytes| bytes == b" -> ")?;
        (&name[..arrow], name[arrow + 4..].to_vec())
    } else {
        (name, Vec::new())
    };
    let found = Found {
        kind,
        mode: self::mode(mode)? & 0o777,
        acl: mode.as_bytes().get(10) == Some(&b'+'),
        size,
        owner,
        target,
    };
    Some((name.strip_prefix(b"./")?.to_vec(), found))
}

/// The mode that `ls` shows.
pub(super) fn mode(shown: &str) -> Option<u32> {
    let letters: Vec<char> = shown.chars().skip(1).take(9).collect();
    if letters.len() < 9 {
        return None;
    }
    let mut mode = 0;
    for (at, letter) in letters.into_iter().enumerate() {
        let bit = 1 << (8 - at);
        let special = 0o4000 >> (at / 3);
        mode |= match letter {
            '-' => 0,
            'r' | 'w' | 'x' => bit,
            's' | 't' => bit | special,
            'S' | 'T' => special,
            _ => return None,
        };
    }
    Some(mode)
}

/// A name as BusyBox `ls` prints it: characters or bytes outside printable ASCII become question marks. Names that look
/// alike then do no harm, because hashes distinguish the files.
pub(super) fn masked(name: &[u8]) -> [Vec<u8>; 2] {
    let mask = |plain: bool, byte: u8| if plain { byte } else { b'?' };
    let plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    let text = String::from_utf8_lossy(name);
    let by_characters = text.chars().map(|c| {
        let byte = u8::try_from(c).unwrap_or(0);
        mask(plain(byte), byte)
    });
    let by_bytes = name.iter().map(|byte| mask(plain(*byte), *byte));
    [by_characters.collect(), by_bytes.collect()]
}

/// Parses the lines of `sha256sum`.
pub(super) fn parse_hashes(lines: &[u8]) -> HashMap<Vec<u8>, String> {
    let lines = lines.split(|byte| *byte == b'\n');
    lines.filter_map(parse_hash).collect()
}

/// Parses a line of `sha256sum`: the hash, two characters, the name; a line that begins with a backslash has an escaped
/// name.
fn parse_hash(line: &[u8]) -> Option<(Vec<u8>, String)> {
    let (escaped, line) = match line.strip_prefix(b"\\") {
        Some(line) => (true, line),
        None => (false, line),
    };
    let hash = std::str::from_utf8(line.get(..64)?)
        .ok()
        .filter(|hash| is_hash(hash))?;
    let name = line.get(64..)?.strip_prefix(b" ")?;
    let name = name
        .strip_prefix(b" ")
        .or_else(|| name.strip_prefix(b"*"))?
        .strip_prefix(b"./")?;
    let mut plain = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        match (escaped, byte) {
            (true, b'\\') => plain.push(match bytes.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                other => *other,
            }),
            (_, byte) => plain.push(*byte),
        }
    }
    Some((plain, hash.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_as_ls_shows_them() {
        for (shown, wanted) in [
            ("-rw-r-----", 0o640),
            ("-rwxr-xr-x.", 0o755),
            ("-rwsr-Sr-t", 0o7745),
            ("-rwxr-xr-T+", 0o1754),
            ("----------", 0),
        ] {
            assert_eq!(mode(shown), Some(wanted), "{shown}");
        }
        assert_eq!(mode("-rw?r--r--"), None);
        assert_eq!(mode("-rw"), None);
    }

    #[test]
    fn lines_of_ls_are_read() {
        let (name, found) = parse_listed(b"-rwsr-xr--+ 1 0 1000 42 Nov 21 19:39 ./a b").unwrap();
        assert_eq!(
            (name.as_slice(), found.mode, found.size),
            (&b"a b"[..], 0o754, 42)
        );
        let (name, found) = parse_listed(b"lrwxrwxrwx   1 0 0 1 Nov 21  2024 ./l -> ../x -> y").unwrap();
        assert_eq!(
            (name.as_slice(), found.target.as_slice()),
            (&b"l"[..], &b"../x -> y"[..])
        );
        for bad in [
            &b""[..],
            b"total 3",
            b"-rw 1 0 0 x Nov 1 1 ./a",
            b"-rw-r--r-- 1 0 0 1 Nov 21 2024 a",
        ] {
            assert_eq!(parse_listed(bad), None);
        }
    }

    #[test]
    fn lines_of_sha256sum_are_read() {
        let hash = "0123456789abcdef".repeat(4);
        let read =
            |rest: &str| parse_hash(rest.to_string().replace('H', &hash).as_bytes()).map(|(name, _)| name);
        assert_eq!(read("H  ./a  b").as_deref(), Some(&b"a  b"[..]));
        assert_eq!(read("H *./a").as_deref(), Some(&b"a"[..]));
        assert_eq!(read(r"\H  ./a\\b\nc").as_deref(), Some(&b"a\\b\nc"[..]));
        assert_eq!(read("H ./a"), None);
        assert_eq!(read("sha256sum: ./x: No such file"), None);
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_a_host_says_is_trusted(line: Vec<u8>) {
            let _ = parse_listed(&line);
            let _ = parse_hash(&line);
        }
    }
}
