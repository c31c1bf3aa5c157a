//! Uploads a directory: lists what the host has, sends the rest, and moves it into place.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use reveille_text::harmless;
use tokio::task::spawn_blocking;

use super::listed::{Found, masked, parse_hashes, parse_listed};
use super::script::Verb;
use super::stream;
use super::tree::{Node, Tree};
use super::{Comparison, Destination, Sent, TransferError, list, read_all, send_all};
use crate::escalate::Become;
use crate::quote::{sh_quote, sh_quote_bytes};
use crate::session::Session;
use crate::supervisor::channel::{Channel, open};

/// The longest list of arguments for one command, in bytes.
const ARGUMENTS: usize = 32 * 1024;
/// How many bytes a host may answer for each of our names, in addition to the name.
const ANSWER_EACH: usize = 256;

/// Copies `tree` to the host.
pub(crate) async fn push(
    session: &Session,
    escalate: Option<&Become>,
    tree: &Arc<Tree>,
    destination: &Destination,
) -> Result<Sent, TransferError> {
    let way = Way { session, escalate };
    let root = root(destination);
    let mode = destination
        .mode
        .as_deref()
        .and_then(|mode| u32::from_str_radix(mode, 8).ok());
    let (work, found) = way.compare(tree, &root, mode).await?;
    let mut sent = Sent {
        changed: !work.install.is_empty() || !work.modes.is_empty() || !work.merge,
        ..Sent::default()
    };
    for entry in &tree.entries {
        sent.had += u64::from(matches!(entry.node, Node::File { .. }));
    }
    for index in &work.send {
        if let Node::File { size, .. } = tree.entries[*index].node {
            sent.files += 1;
            sent.bytes += size;
            sent.had -= 1;
        }
    }
    let owner = owner(destination);
    if sent.changed {
        let Place { path: place, acl } = way.unpack(tree, &work, mode, &root).await?;
        let quoted = sh_quote(&place);
        let mut steps = Vec::new();
        let replaced = work.replaced(tree, &found);
        steps.extend(keep(&replaced, mode, acl, &place, &root));
        if let Some(owner) = &owner {
            steps.push(format!("chown -hR {owner} {quoted}").into());
        }
        if work.merge {
            work.merge_into(&mut steps, tree, mode, &place, &root);
            steps.push(format!("rm -rf {quoted}").into());
        } else {
            let root = sh_quote(&root);
            steps.push(format!("chmod {:04o} {quoted}", tree.mode).into());
            steps.push(format!("[ ! -e {root} ] || {{ echo {root} was created meanwhile; false; }}").into());
            steps.push(format!("mv {quoted} {root}").into());
        }
        let installed = way.steps(&steps).await;
        if let Err(error) = installed {
            way.give_up(&place, &error).await;
            return Err(error);
        }
    }
    if let Some(owner) = owner.filter(|_| work.merge) {
        let paths = tree.entries.iter().map(|entry| below(&root, &entry.path));
        way.steps(&in_pieces(&format!("chown -h {owner}"), paths, b""))
            .await?;
        if !sent.changed {
            let names: Vec<&[u8]> = tree.entries.iter().map(|entry| &*entry.path).collect();
            let now = way.list(&root, &tree.identity, &names).await?.found;
            sent.changed = now
                .iter()
                .any(|(name, now)| found.get(name).is_none_or(|before| before.owner != now.owner));
        }
    }
    Ok(sent)
}

/// How many names of files a comparison shows, and how much of each.
const NAMES_SHOWN: usize = 10;
const NAME_SHOWN: usize = 100;

/// Finds which files of `tree` the host lacks or has otherwise. Owners are not compared.
pub(crate) async fn compare(
    session: &Session,
    escalate: Option<&Become>,
    tree: &Arc<Tree>,
    destination: &Destination,
) -> Result<Comparison, TransferError> {
    let way = Way { session, escalate };
    let root = root(destination);
    let mode = destination
        .mode
        .as_deref()
        .and_then(|mode| u32::from_str_radix(mode, 8).ok());
    let (work, _) = way.compare(tree, &root, mode).await?;
    let mut changes = Vec::new();
    if !work.merge {
        changes.push("it is new".to_owned());
    }
    for (entries, what) in [(&work.install, "to send"), (&work.modes, "with another mode")] {
        let files = entries.iter().map(|index| &tree.entries[*index]);
        let files = files.filter(|entry| !matches!(entry.node, Node::Directory { .. }));
        let names: Vec<String> = files
            .map(|entry| {
                reveille_text::harmless::line_up_to(&String::from_utf8_lossy(&entry.path), NAME_SHOWN)
            })
            .collect();
        let count = if names.is_empty() {
            entries.len()
        } else {
            names.len()
        };
        if count > 0 {
            let mut words = format!("{} {what}", reveille_text::counted(count, "file"));
            let shown = names.len().min(NAMES_SHOWN);
            if shown > 0 {
                words += &format!(" ({}", names[..shown].join(" "));
                if names.len() > shown {
                    words += &format!(" and {} more", names.len() - shown);
                }
                words.push(')');
            }
            changes.push(words);
        }
    }
    Ok(Comparison {
        path: root,
        changes,
        ..Comparison::default()
    })
}

/// The destination of the directory's content.
fn root(destination: &Destination) -> String {
    let path = destination.path.trim_end_matches('/');
    let path = if path.is_empty() { "/" } else { path };
    let root = match destination.name.as_str() {
        "" => path.to_owned(),
        name => format!("{}/{name}", path.trim_end_matches('/')),
    };
    // No command may read it as an option.
    if root.starts_with('-') {
        format!("./{root}")
    } else {
        root
    }
}

/// The argument of `chown`, quoted.
fn owner(destination: &Destination) -> Option<String> {
    let owner = destination.owner.as_deref().unwrap_or_default();
    match &destination.group {
        Some(group) => Some(sh_quote(&format!("{owner}:{group}"))),
        None => destination.owner.as_deref().map(sh_quote),
    }
}

/// The host's files with our names.
struct Listing {
    /// The directory exists.
    present: bool,
    /// Where an earlier attempt unpacked files, if it did.
    staged: Option<String>,
    found: HashMap<Vec<u8>, Found>,
}

/// Where an archive was unpacked.
struct Place {
    path: String,
    /// Files there get an ACL from their directory.
    acl: bool,
}

/// The work to do on the host. Numbers are indices of entries.
struct Work {
    /// Entries to install, in order.
    install: Vec<usize>,
    /// Those of them to send: an earlier attempt has sent the others.
    send: Vec<usize>,
    /// Files with only a wrong mode.
    modes: Vec<usize>,
    /// The destination exists.
    merge: bool,
}

// === impl Work ===

impl Work {
    /// The files to replace: their paths, their own modes, and what is on the host.
    fn replaced<'a>(
        &self,
        tree: &'a Tree,
        found: &'a HashMap<Vec<u8>, Found>,
    ) -> Vec<(&'a [u8], u32, &'a Found)> {
        let entries = self.install.iter().map(|index| &tree.entries[*index]);
        entries
            .filter_map(|entry| match (&entry.node, found.get(&entry.path)) {
                (Node::File { mode, .. }, Some(there)) if there.kind == b'-' => {
                    Some((&*entry.path, *mode, there))
                }
                _ => None,
            })
            .collect()
    }

    /// Commands that move the files unpacked at `place` to their places below `root`.
    fn merge_into(&self, steps: &mut Vec<Bytes>, tree: &Tree, mode: Option<u32>, place: &str, root: &str) {
        let mut directories = Vec::new();
        let mut modes: HashMap<u32, Vec<Vec<u8>>> = HashMap::new();
        let mut files: Vec<(&[u8], Vec<Vec<u8>>)> = Vec::new();
        for entry in self.install.iter().map(|index| &tree.entries[*index]) {
            if let Node::Directory { mode } = entry.node {
                directories.push(below(root, &entry.path));
                modes.entry(mode).or_default().push(below(root, &entry.path));
                continue;
            }
            let cut = entry.path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            let parent = &entry.path[..cut];
            let path = below(place, &entry.path);
            match files.last_mut().filter(|(last, _)| *last == parent) {
                Some((_, paths)) => paths.push(path),
                None => files.push((parent, vec![path])),
            }
        }
        for entry in self.modes.iter().map(|index| &tree.entries[*index]) {
            if let Node::File { mode: own, .. } = entry.node {
                modes
                    .entry(mode.unwrap_or(own))
                    .or_default()
                    .push(below(root, &entry.path));
            }
        }
        steps.extend(in_pieces("mkdir -p", directories, b""));
        for (parent, paths) in files {
            let mut target = below(root, parent);
            target.push(b'/');
            steps.extend(in_pieces("mv -f", paths, &sh_quote_bytes(&target)));
        }
        for (mode, paths) in modes {
            steps.extend(in_pieces(&format!("chmod {mode:04o}"), paths, b""));
        }
    }
}

/// Commands that give the files unpacked at `place` the owner, group and ACL of the files that they replace. `acl`: new
/// files there get an ACL from their directory.
fn keep(
    replaced: &[(&[u8], u32, &Found)],
    mode: Option<u32>,
    acl: bool,
    place: &str,
    root: &str,
) -> Vec<Bytes> {
    let mut steps = Vec::new();
    let mut owners: BTreeMap<&(String, String), Vec<Vec<u8>>> = BTreeMap::new();
    for (path, own, there) in replaced {
        let new = below(place, path);
        if there.acl || acl {
            let (old, new) = (sh_quote_bytes(&below(root, path)), sh_quote_bytes(&new));
            let chmod = format!("chmod {:04o}", mode.unwrap_or(*own));
            let parts = [b"like", &*old, &new, b"- - &&", chmod.as_bytes(), &new];
            steps.push(parts.join(&b' ').into());
        } else {
            owners.entry(&there.owner).or_default().push(new);
        }
    }
    let refused = format!(
        "|| {{ echo \"can't keep the owner and group of the old files in \"{}\"; become root\"; false; }}",
        sh_quote(root)
    );
    for ((user, group), paths) in owners {
        steps.extend(in_pieces(
            &format!("chown {user}:{group}"),
            paths,
            refused.as_bytes(),
        ));
    }
    steps
}

/// Commands with all of `paths` as arguments, followed by `last`.
fn in_pieces(command: &str, paths: impl IntoIterator<Item = Vec<u8>>, last: &[u8]) -> Vec<Bytes> {
    let mut lines = Vec::new();
    let mut line = BytesMut::new();
    let mut finish = |line: &mut BytesMut| {
        if !line.is_empty() {
            line.extend_from_slice(b" ");
            line.extend_from_slice(last);
            lines.push(line.split().freeze());
        }
    };
    for path in paths {
        if line.is_empty() {
            line.extend_from_slice(command.as_bytes());
        }
        line.extend_from_slice(b" ");
        line.extend_from_slice(&sh_quote_bytes(&path));
        if line.len() > ARGUMENTS {
            finish(&mut line);
        }
    }
    finish(&mut line);
    lines
}

fn below(root: &str, path: &[u8]) -> Vec<u8> {
    let mut whole = root.trim_end_matches('/').as_bytes().to_vec();
    if !path.is_empty() {
        whole.push(b'/');
        whole.extend_from_slice(path);
    }
    whole
}

/// Access to the host.
#[derive(Clone, Copy)]
struct Way<'a> {
    session: &'a Session,
    escalate: Option<&'a Become>,
}

// === impl Way ===

impl Way<'_> {
    async fn open(&self, verb: Verb, orders: &str) -> Result<Channel, TransferError> {
        Ok(open(self.session, self.escalate, verb.script(), orders).await?)
    }

    /// Compares the tree with the host; returns the work to do and the host's previous state.
    async fn compare(
        &self,
        tree: &Arc<Tree>,
        root: &str,
        mode: Option<u32>,
    ) -> Result<(Work, HashMap<Vec<u8>, Found>), TransferError> {
        let all = 0..tree.entries.len();
        let names: Vec<&[u8]> = tree.entries.iter().map(|entry| &*entry.path).collect();
        let Listing {
            present,
            staged,
            found,
        } = self.list(root, &tree.identity, &names).await?;
        let mut work = Work {
            install: Vec::new(),
            send: Vec::new(),
            modes: Vec::new(),
            merge: present,
        };
        if present {
            let same = self.same(tree, root, &found, all).await?;
            for (index, entry) in tree.entries.iter().enumerate() {
                let there = found.get(&*entry.path);
                if let Some(there) = there {
                    conflict(&entry.node, there).map_err(|what| {
                        TransferError::Remote(format!("{root}/{} {what}", show(&entry.path)))
                    })?;
                }
                match (&entry.node, there) {
                    (Node::Directory { .. }, Some(_)) => {}
                    (Node::Link { target }, Some(there))
                        if there.target == *target || masked(target).contains(&there.target) => {}
                    (Node::File { mode: own, .. }, Some(there)) if same.contains(&index) => {
                        if there.mode != mode.unwrap_or(*own) {
                            work.modes.push(index);
                        }
                    }
                    _ => work.install.push(index),
                }
            }
        } else {
            work.install.extend(all);
        }
        work.send.clone_from(&work.install);
        if let Some(place) = staged {
            let names: Vec<&[u8]> = work.install.iter().map(|index| names[*index]).collect();
            let listing = self.list(&place, &tree.identity, &names).await?;
            let same = self
                .same(tree, &place, &listing.found, work.install.iter().copied())
                .await?;
            work.send.retain(|index| !same.contains(index));
        }
        Ok((work, found))
    }

    /// Lists `names` below `root` on the host.
    async fn list(&self, root: &str, identity: &str, names: &[&[u8]]) -> Result<Listing, TransferError> {
        let channel = self
            .open(Verb::Survey, &format!("list {identity}\n{root}\n"))
            .await?;
        let mut hello = channel.hello.splitn(2, ' ');
        let present = hello.next() == Some("present");
        let staged = hello.next().filter(|place| !place.is_empty()).map(str::to_owned);
        let mut found = HashMap::new();
        if present {
            let lines = self.ask(channel, names).await?;
            let told: HashMap<Vec<u8>, Found> = lines
                .split(|byte| *byte == b'\n')
                .filter_map(parse_listed)
                .collect();
            for name in names {
                let like = || masked(name).iter().find_map(|name| told.get(name));
                if let Some(there) = told.get(*name).or_else(like) {
                    found.insert(name.to_vec(), there.clone());
                }
            }
        }
        Ok(Listing {
            present,
            staged,
            found,
        })
    }

    /// Finds the entries whose files below `root` have the same content.
    async fn same(
        &self,
        tree: &Arc<Tree>,
        root: &str,
        found: &HashMap<Vec<u8>, Found>,
        among: impl Iterator<Item = usize>,
    ) -> Result<HashSet<usize>, TransferError> {
        let candidates: Vec<usize> = among
            .filter(|index| {
                let entry = &tree.entries[*index];
                let there = found.get(&*entry.path);
                matches!((&entry.node, there), (Node::File { size, .. }, Some(there)) if there.kind == b'-' && there.size == *size)
            })
            .collect();
        if candidates.is_empty() {
            return Ok(HashSet::new());
        }
        let channel = self
            .open(Verb::Survey, &format!("hashes {}\n{root}\n", tree.identity))
            .await?;
        let names: Vec<&[u8]> = candidates
            .iter()
            .map(|index| &*tree.entries[*index].path)
            .collect();
        let lines = self.ask(channel, &names).await?;
        let hashes = parse_hashes(&lines);
        let tree = Arc::clone(tree);
        let compared = spawn_blocking(move || {
            candidates
                .into_iter()
                .filter_map(|index| {
                    let entry = &tree.entries[index];
                    let theirs = hashes.get(&entry.path)?;
                    match tree.hash(entry) {
                        Ok(ours) => (ours == theirs).then_some(Ok(index)),
                        Err(error) => Some(Err(error)),
                    }
                })
                .collect::<io::Result<_>>()
        });
        Ok(compared.await.map_err(io::Error::other)??)
    }

    /// Sends names and returns the complete answer.
    async fn ask(&self, mut channel: Channel, names: &[&[u8]]) -> Result<Vec<u8>, TransferError> {
        let list = list(names);
        let limit = list.len() * 2 + names.len() * ANSWER_EACH;
        let input = channel.exec.input();
        let too_long = "the host's answer about its files is too long";
        // A host may answer while we send, so read at the same time.
        let reading = read_all(&mut channel, self.session, limit, too_long);
        let (lines, ()) = tokio::join!(reading, send_all(&input, list));
        lines
    }

    /// Sends the files, which are unpacked beside the destination.
    async fn unpack(
        &self,
        tree: &Arc<Tree>,
        work: &Work,
        mode: Option<u32>,
        root: &str,
    ) -> Result<Place, TransferError> {
        let mut channel = self
            .open(Verb::Unpack, &format!("{}\n{root}\n", tree.identity))
            .await?;
        let (acl, path) = channel.hello.split_once(' ').unwrap_or_default();
        let place = Place {
            path: path.to_owned(),
            acl: acl == "+",
        };
        let (sender, mut pieces) = stream::pipe();
        let (packed, wanted) = (Arc::clone(tree), work.send.clone());
        let packing = spawn_blocking(move || packed.pack(&wanted, mode, sender));
        let input = channel.exec.input();
        let sending = async {
            while let Some(piece) = pieces.recv().await {
                if input.send(piece).await.is_err() {
                    break;
                }
            }
            drop(pieces);
            let packed = packing.await.map_err(io::Error::other);
            // Without its end, the host recognizes the archive as broken.
            let _ = input.end().await;
            packed?
        };
        let (said, packed) = tokio::join!(channel.words(self.session), sending);
        let said = said.map_err(TransferError::from);
        let result = match (said, packed) {
            (Ok(words), Ok(())) if words == "end" => return Ok(place),
            (Err(error), _) => Err(error),
            // Our own error explains a broken archive better than the host's message, unless the host stopped reading.
            (_, Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            (Ok(words), _) => Err(TransferError::said(&words)),
        };
        if let Err(error) = &result {
            self.give_up(&place.path, error).await;
        }
        result
    }

    /// Removes what was unpacked at `place`, unless the next attempt may continue there.
    async fn give_up(&self, place: &str, error: &TransferError) {
        if !matches!(error, TransferError::Lost(_)) {
            let _ = self.steps(&[format!("rm -rf {}", sh_quote(place)).into()]).await;
        }
    }

    /// Runs commands up to the first failure.
    async fn steps(&self, lines: &[Bytes]) -> Result<(), TransferError> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut channel = self.open(Verb::Steps, "\n").await?;
        let input = channel.exec.input();
        for line in lines {
            let mut line = BytesMut::from(&line[..]);
            line.extend_from_slice(b"\n");
            if input.send(line.freeze()).await.is_err() {
                break;
            }
        }
        let _ = input.end().await;
        match channel.words(self.session).await? {
            words if words == "end" => Ok(()),
            words => Err(TransferError::said(&words)),
        }
    }
}

/// Why an entry can't replace the host's file.
fn conflict(node: &Node, there: &Found) -> Result<(), &'static str> {
    match (node, there.kind) {
        (Node::Directory { .. }, b'd') => Ok(()),
        (Node::Directory { .. }, b'l') => Err("is a link on the host, but a directory here"),
        (Node::Directory { .. }, _) => Err("is not a directory on the host, but one here"),
        (_, b'd') => Err("is a directory on the host, but not here"),
        (_, b'b' | b'c' | b'p' | b's') => Err("is a device, a pipe or a socket on the host"),
        _ => Ok(()),
    }
}

fn show(path: &[u8]) -> String {
    harmless::line(&String::from_utf8_lossy(path))
}
