//! Downloads a directory as an archive, and trusts nothing in it.

use std::collections::{HashMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reveille_text::harmless;
use tar::{Archive, EntryType};
use tokio::task::spawn_blocking;

use super::digest::hash_of;
use super::listed::parse_hashes;
use super::place::{narrow, place};
use super::script::Verb;
use super::tree::ENTRIES_LIMIT;
use super::{TransferError, list, read_all, send_all, stream};
use crate::escalate::Become;
use crate::session::Session;
use crate::supervisor::channel::open;
use crate::supervisor::frames::Piece;

/// How deep directories may be nested.
const DEPTH_LIMIT: usize = 128;
/// The largest list of a directory's hashes and names, in bytes: some 100,000 files.
const HASHES_LIMIT: usize = 16 << 20;
/// How many left-out entries are named.
const NAMED: usize = 5;

/// The result of a download.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Whether it is a directory; only then are the other fields set.
    pub directory: bool,
    /// The number of files that were sent; existing files are not sent again.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// The number of existing files.
    pub had: u64,
    /// What was left out and why; only the first few have names.
    pub left_out: Vec<String>,
}

/// Copies the host's directory `path` to `target` through `partial`.
pub(crate) async fn pull(
    session: &Session,
    escalate: Option<&Become>,
    path: &str,
    target: &Path,
    partial: &Path,
    limit: u64,
) -> Result<Fetched, TransferError> {
    let wanted = if target.exists() || partial.exists() {
        let theirs = hashes(session, escalate, path).await?;
        let (target, partial) = (target.to_owned(), partial.to_owned());
        let compared = spawn_blocking(move || missing(&theirs, &target, &partial));
        Some(session.meanwhile(compared).await.map_err(io::Error::other)??)
    } else {
        None
    };
    let (what, had, names) = match &wanted {
        None => ("all", 0, Bytes::new()),
        Some((missing, had)) if missing.is_empty() => ("none", *had, Bytes::new()),
        Some((missing, had)) => ("some", *had, list(missing)),
    };
    let orders = format!("{what}\n{path}\n");
    let mut channel = open(session, escalate, Verb::Pack.script(), &orders).await?;
    match channel.words(session).await? {
        words if words == "begin" => {}
        words => return Err(TransferError::said(&words)),
    }
    let (sender, reader) = stream::intake();
    let place = partial.to_owned();
    let unpacking = spawn_blocking(move || unpack(reader, &place, limit));
    let input = channel.exec.input();
    let listening = async {
        loop {
            match channel.piece().await {
                // If the thread has stopped reading, its error is reported below.
                Some(Piece::Data(bytes)) => {
                    if sender.send(bytes).await.is_err() {
                        return None;
                    }
                }
                Some(Piece::Frame(words)) => return Some(Ok(words)),
                None => return Some(Err(TransferError::Lost(session.why_closed()))),
            }
        }
    };
    let (said, ()) = tokio::join!(listening, send_all(&input, names));
    drop(sender);
    let unpacked = session.meanwhile(unpacking).await.map_err(io::Error::other)?;
    let said = said.transpose()?.unwrap_or_default();
    let mut fetched = unpacked?;
    fetched.had = had;
    let complaint = complaint(&said);
    let (from, to) = (partial.to_owned(), target.to_owned());
    let placed = spawn_blocking(move || place_all(&from, &to));
    session.meanwhile(placed).await.map_err(io::Error::other)??;
    match complaint {
        None => Ok(fetched),
        Some(why) => Err(TransferError::Remote(format!(
            "only a part of the directory could be read: {why}"
        ))),
    }
}

/// The error of `tar`, from the words at the end of an archive.
fn complaint(words: &str) -> Option<String> {
    let words = words.strip_prefix("end").unwrap_or(words).trim();
    let (said, status) = words.rsplit_once("status ").unwrap_or((words, "0"));
    let said = said.trim();
    match (said.is_empty(), status.trim()) {
        // 1 means that something changed while it was read.
        (true, "0" | "1" | "") => None,
        (true, status) => Some(format!("tar ended with status {status}")),
        (false, _) => Some(harmless::line(said)),
    }
}

/// Requests the hash of every file below the host's directory.
async fn hashes(
    session: &Session,
    escalate: Option<&Become>,
    path: &str,
) -> Result<HashMap<Vec<u8>, String>, TransferError> {
    let mut channel = open(session, escalate, Verb::Sums.script(), &format!("\n{path}\n")).await?;
    let too_long = format!("{path} has too many files");
    let lines = read_all(&mut channel, session, HASHES_LIMIT, &too_long).await?;
    Ok(parse_hashes(&lines))
}

/// Compares the host's files with those at `target` and those that an earlier attempt left in `partial`; removes
/// outdated ones from `partial`. Returns the missing ones, and the number of the others.
fn missing(
    theirs: &HashMap<Vec<u8>, String>,
    target: &Path,
    partial: &Path,
) -> io::Result<(Vec<Vec<u8>>, u64)> {
    let mut missing = Vec::new();
    let mut had = 0;
    for (name, hash) in theirs {
        let Some(path) = plain_path(name) else {
            // It will be left out and reported when it arrives.
            missing.push(name.clone());
            continue;
        };
        let same = |root: &Path| {
            let whole = beneath(root, &path)?;
            Ok::<_, io::Error>(match whole {
                Some(whole) if fs::symlink_metadata(&whole).is_ok_and(|found| found.is_file()) => {
                    hash_of(fs::File::open(&whole)?)? == *hash
                }
                _ => false,
            })
        };
        if same(partial)? || same(target)? {
            had += 1;
        } else {
            missing.push(name.clone());
        }
    }
    missing.sort();
    let known: HashSet<&[u8]> = theirs.keys().map(Vec::as_slice).collect();
    for file in files_below(partial)? {
        if !known.contains(file.as_os_str().as_bytes()) {
            fs::remove_file(partial.join(file))?;
        }
    }
    Ok((missing, had))
}

/// The relative paths of all files and links below a directory; none if it does not exist.
fn files_below(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if !fs::symlink_metadata(root).is_ok_and(|found| found.is_dir()) {
        return Ok(files);
    }
    let mut unread = vec![PathBuf::new()];
    while let Some(directory) = unread.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                unread.push(path);
            } else {
                files.push(path);
            }
        }
    }
    Ok(files)
}

/// Unpacks an archive below `place`.
fn unpack(reader: stream::Reader, place: &Path, limit: u64) -> io::Result<Fetched> {
    let mut fetched = Fetched {
        directory: true,
        ..Fetched::default()
    };
    let mut left_out = LeftOut::default();
    let mut links: Vec<(PathBuf, PathBuf)> = Vec::new();
    let mut modes: Vec<(PathBuf, u32)> = Vec::new();
    directory(place, Path::new(""))?;
    // The archive may consist of up to three archives in a row.
    let mut archive = Archive::new(reader);
    archive.set_ignore_zeros(true);
    let mut count = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        count += 1;
        if count > ENTRIES_LIMIT {
            return Err(io::Error::other(format!(
                "the directory has more than {ENTRIES_LIMIT} entries"
            )));
        }
        let name = entry.path_bytes().into_owned();
        let kind = entry.header().entry_type();
        let Some(path) = plain_path(&name) else {
            left_out.note(&name, "its name is not valid here");
            continue;
        };
        if kind == EntryType::Directory {
            // Its owner, who unpacks it, may write to it.
            let mode = entry.header().mode().unwrap_or(0o755) & 0o777 | 0o700;
            directory(place, &path)?;
            modes.push((path, mode));
            continue;
        }
        if path.as_os_str().is_empty() {
            continue;
        }
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                fetched.files += 1;
                fetched.bytes += entry.size();
                if fetched.bytes > limit {
                    return Err(io::Error::other(format!(
                        "the directory has more than the {limit} bytes allowed"
                    )));
                }
                let header = entry.header();
                let mode = header.mode().unwrap_or(0o644) & 0o777 | 0o600;
                let modified = header.mtime().ok();
                file(place, &path, &mut entry, mode, modified)?;
            }
            EntryType::Link => {
                // A hard link: the first name either came before, or is left out as well.
                let first = entry.link_name_bytes().and_then(|name| plain_path(&name));
                let source = match first {
                    Some(first) => beneath(place, &first)?,
                    None => None,
                };
                match source {
                    Some(source) if fs::symlink_metadata(&source).is_ok_and(|found| found.is_file()) => {
                        let mode = fs::metadata(&source)?.permissions().mode() & 0o777;
                        let mut again = fs::File::open(&source)?;
                        fetched.files += 1;
                        file(place, &path, &mut again, mode, None)?;
                    }
                    _ => left_out.note(&name, "it is a hard link to a file that was left out"),
                }
            }
            EntryType::Symlink => match entry.link_name_bytes() {
                Some(to) => {
                    let to = PathBuf::from(std::ffi::OsString::from_vec(to.into_owned()));
                    if stays_within(&path, &to) {
                        links.push((path, to));
                    } else {
                        left_out.note(&name, "it is a link that leads out of the directory");
                    }
                }
                None => left_out.note(&name, "it is a link without a target"),
            },
            _ => left_out.note(&name, "it is neither a file, a directory nor a link"),
        }
    }
    // Links come last, so that nothing is written through one.
    for (path, to) in links {
        if let Some(parent) = path.parent() {
            directory(place, parent)?;
        }
        let whole = place.join(&path);
        let _ = fs::remove_file(&whole);
        std::os::unix::fs::symlink(&to, &whole).map_err(|error| named(&whole, &error))?;
    }
    for (path, mode) in modes {
        let whole = place.join(&path);
        // A later entry may have replaced it.
        if fs::symlink_metadata(&whole).is_ok_and(|found| found.is_dir()) {
            fs::set_permissions(&whole, fs::Permissions::from_mode(mode))
                .map_err(|error| named(&whole, &error))?;
        }
    }
    fetched.left_out = left_out.told();
    Ok(fetched)
}

#[derive(Default)]
struct LeftOut {
    named: Vec<String>,
    others: usize,
}

impl LeftOut {
    fn note(&mut self, name: &[u8], why: &str) {
        if self.named.len() < NAMED {
            let name = harmless::line_up_to(&String::from_utf8_lossy(name), 200);
            self.named.push(format!("{name}: {why}"));
        } else {
            self.others += 1;
        }
    }

    fn told(mut self) -> Vec<String> {
        if self.others > 0 {
            self.named.push(format!("and {} others", self.others));
        }
        self.named
    }
}

/// A path from an archive as a relative path; none if it is not relative or not valid on this machine.
fn plain_path(name: &[u8]) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    let mut depth = 0;
    for component in Path::new(std::ffi::OsStr::from_bytes(name)).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) if !part.as_bytes().iter().any(u8::is_ascii_control) => {
                depth += 1;
                path.push(part);
            }
            _ => return None,
        }
    }
    (depth <= DEPTH_LIMIT).then_some(path)
}

/// Whether a link at `path` to `to` stays below the directory that `path` starts from. `..` is allowed only at the
/// beginning of `to`: after a name, which may itself be a link, its meaning is unknown.
fn stays_within(path: &Path, to: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    let mut down = false;
    for component in to.components() {
        match component {
            Component::Normal(_) => down = true,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 && !down => depth -= 1,
            _ => return false,
        }
    }
    true
}

/// `path` below `root`, unless one of its parents is not a directory.
fn beneath(root: &Path, path: &Path) -> io::Result<Option<PathBuf>> {
    let mut whole = root.to_owned();
    for component in path.parent().unwrap_or(Path::new("")).components() {
        whole.push(component);
        match fs::symlink_metadata(&whole) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(root.join(path)))
}

/// Creates a directory and its parents. Anything in the way, above all a link, is removed.
fn directory(root: &Path, path: &Path) -> io::Result<()> {
    let make = |whole: &Path| {
        match fs::symlink_metadata(whole) {
            Ok(found) if found.is_dir() => return Ok(()),
            Ok(_) => fs::remove_file(whole)?,
            Err(_) => {}
        }
        fs::create_dir(whole)
    };
    let mut whole = root.to_owned();
    make(&whole).map_err(|error| named(&whole, &error))?;
    for part in path.components() {
        whole.push(part);
        make(&whole).map_err(|error| named(&whole, &error))?;
    }
    Ok(())
}

fn file(
    root: &Path,
    path: &Path,
    source: &mut impl Read,
    mode: u32,
    modified: Option<u64>,
) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        directory(root, parent)?;
    }
    let whole = root.join(path);
    let wrong = |error: io::Error| named(&whole, &error);
    match fs::symlink_metadata(&whole) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(&whole).map_err(wrong)?,
        Ok(_) => fs::remove_file(&whole).map_err(wrong)?,
        Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&whole)
        .map_err(wrong)?;
    io::copy(source, &mut file).map_err(wrong)?;
    file.set_permissions(fs::Permissions::from_mode(mode))
        .map_err(wrong)?;
    if let Some(seconds) = modified {
        // A time that the file system can't represent is not an error.
        let _ = SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds))
            .map(|time| file.set_modified(time));
    }
    Ok(())
}

/// Moves the downloaded files into place, one by one if the target exists.
fn place_all(partial: &Path, target: &Path) -> io::Result<()> {
    match fs::symlink_metadata(target) {
        Err(_) => return fs::rename(partial, target).map_err(|error| named(target, &error)),
        Ok(found) if !found.is_dir() => {
            return Err(io::Error::other(format!(
                "{} exists here, but is not a directory",
                target.display()
            )));
        }
        Ok(_) => {}
    }
    let mut unread = vec![PathBuf::new()];
    while let Some(path) = unread.pop() {
        let whole = target.join(&path);
        let is_new = fs::symlink_metadata(&whole).is_err();
        directory(target, &path)?;
        let mode = fs::metadata(partial.join(&path))?.permissions();
        if is_new {
            fs::set_permissions(&whole, mode).map_err(|error| named(&whole, &error))?;
        } else {
            let directory = fs::File::open(&whole).map_err(|error| named(&whole, &error))?;
            narrow(&directory, mode.mode()).map_err(|error| named(&whole, &error))?;
        }
        for entry in fs::read_dir(partial.join(&path))? {
            let entry = entry?;
            let path = path.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                unread.push(path);
                continue;
            }
            let whole = target.join(&path);
            if fs::symlink_metadata(&whole).is_ok_and(|found| found.is_dir()) {
                return Err(io::Error::other(format!(
                    "{} is a directory here, but not on the host",
                    whole.display()
                )));
            }
            let copy = partial.join(&path);
            let mode = fs::symlink_metadata(&copy)?.permissions().mode();
            place(&copy, &whole, mode)?;
        }
    }
    fs::remove_dir_all(partial)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("can't write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive as a hostile host might send it: names and links are written unchanged.
    fn archive(entries: &[(&str, EntryType, &str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, kind, link, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o4777);
            header.set_size(content.len() as u64);
            header.set_cksum();
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes
    }

    fn take(bytes: &[u8], place: &Path) -> io::Result<Fetched> {
        let (sender, reader) = stream::intake();
        let bytes = bytes.to_vec();
        std::thread::spawn(move || {
            for piece in bytes.chunks(700) {
                if sender.blocking_send(piece.to_vec().into()).is_err() {
                    return;
                }
            }
        });
        unpack(reader, place, 1 << 20)
    }

    #[test]
    fn a_hostile_archive_stays_where_it_is_put() {
        let here = tempfile::tempdir().unwrap();
        let place = here.path().join("in");
        let outside = here.path().join("out");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        let absolute = format!("{}/evil", outside.display());
        let bytes = archive(&[
            ("./a/ok", EntryType::Regular, "", b"fine"),
            ("../out/evil", EntryType::Regular, "", b"x"),
            (&absolute, EntryType::Regular, "", b"x"),
            ("./link", EntryType::Symlink, "../out", b""),
            ("./link/evil", EntryType::Regular, "", b"x"),
            ("./a/up", EntryType::Symlink, "../a/ok", b""),
            ("./a/far", EntryType::Symlink, "../../out/secret", b""),
            ("./root", EntryType::Symlink, "/etc/passwd", b""),
            ("./hard", EntryType::Link, "../out/secret", b""),
            ("./twice", EntryType::Link, "./a/ok", b""),
            ("./null", EntryType::Char, "", b""),
            ("./esc\u{1b}[2J", EntryType::Regular, "", b"x"),
        ]);
        let fetched = take(&bytes, &place).unwrap();
        assert_eq!(fetched.left_out.last().unwrap(), "and 3 others", "{fetched:?}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(fs::read(place.join("link/evil")).unwrap(), b"x");
        assert_eq!(fs::read(place.join("a/up")).unwrap(), b"fine");
        assert_eq!(fs::read(place.join("twice")).unwrap(), b"fine");
        assert_eq!(
            fs::metadata(place.join("a/ok")).unwrap().permissions().mode() & 0o7777,
            0o777
        );
        for absent in ["hard", "root", "null", "a/far"] {
            assert!(fs::symlink_metadata(place.join(absent)).is_err(), "{absent}");
        }
    }

    #[test]
    fn nothing_is_placed_through_a_link_that_was_here() {
        let here = tempfile::tempdir().unwrap();
        let (partial, target, outside) = (
            here.path().join("p"),
            here.path().join("t"),
            here.path().join("o"),
        );
        for directory in [partial.join("d"), target.clone(), outside.clone()] {
            fs::create_dir_all(directory).unwrap();
        }
        fs::write(partial.join("d/f"), "new").unwrap();
        std::os::unix::fs::symlink(&outside, target.join("d")).unwrap();
        place_all(&partial, &target).unwrap();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        assert_eq!(fs::read(target.join("d/f")).unwrap(), b"new");
    }

    #[test]
    fn bounds_hold() {
        let here = tempfile::tempdir().unwrap();
        let big = vec![0; 1 << 19];
        let bytes = archive(&[
            ("a", EntryType::Regular, "", &big),
            ("b", EntryType::Regular, "", &big),
            ("c", EntryType::Regular, "", &big),
        ]);
        let error = take(&bytes, &here.path().join("x")).unwrap_err();
        assert!(error.to_string().contains("bytes allowed"), "{error}");
        let deep = "d/".repeat(DEPTH_LIMIT + 1);
        assert!(plain_path(deep.as_bytes()).is_none());
    }

    #[test]
    fn complaints_are_told_from_changes() {
        assert_eq!(complaint("end status 0 "), None);
        assert_eq!(complaint("end status 1 "), None);
        assert_eq!(complaint("end"), None);
        assert_eq!(
            complaint("end tar: ./x: Cannot open: Permission denied status 2 ").as_deref(),
            Some("tar: ./x: Cannot open: Permission denied")
        );
        assert_eq!(
            complaint("end status 127").as_deref(),
            Some("tar ended with status 127")
        );
    }

    proptest::proptest! {
        #[test]
        fn links_that_stay_do_not_leave(path in "[ab](/[ab]){0,3}", to in "(\\.\\./|[ab]/|\\./){0,5}[ab]?") {
            let here = Path::new("/x/y/z");
            if stays_within(Path::new(&path), Path::new(&to)) {
                let mut whole = here.join(&path);
                whole.pop();
                for part in Path::new(&to).components() {
                    match part {
                        Component::ParentDir => { whole.pop(); }
                        Component::Normal(part) => whole.push(part),
                        _ => {}
                    }
                }
                proptest::prop_assert!(whole.starts_with(here));
            }
        }

        #[test]
        fn no_archive_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..2048)) {
            let here = tempfile::tempdir().unwrap();
            let _ = take(&bytes, &here.path().join("x"));
        }
    }
}
