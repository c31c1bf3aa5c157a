//! Parses files into blocks: lines, keywords, `Host`, `Match` and `Include`.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use glob::MatchOptions;
use reveille_account::{Fault, Line, Mistakes, SourceError};
use reveille_text::bounded::{self, ReadError};

use crate::block::{Block, Condition, Criterion, Place, Setting, Test, Value};
use crate::wildcard::{self, HostPattern};
use crate::words::{arguments, delimited, seconds};
use crate::{AddressFamily, Error, Hop, SshConfig, StrictHostKeyChecking, keywords, tokens};

/// The largest configuration file, in bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// How deep files may include each other; OpenSSH's bound.
const MAX_DEPTH: usize = 16;
/// How many files a configuration may have.
const MAX_FILES: usize = 1_000;
/// How many known-hosts files a host may have; OpenSSH's bound.
const MAX_KNOWN_HOSTS: usize = 32;
/// How many mistakes are shown; the rest are counted.
const MAX_MISTAKES: usize = 20;

/// Reads files into blocks, one after the other.
pub(crate) struct Reader {
    config: SshConfig,
    /// The home directory, for `Include`.
    home: Option<PathBuf>,
    /// Names of unknown options to ignore.
    ignored: Vec<HostPattern>,
    mistakes: Vec<SourceError>,
    more: usize,
    read: usize,
}

/// A file that is being read.
struct Open {
    number: u32,
    user: bool,
    depth: usize,
    /// The block that includes the file.
    within: Option<u32>,
    /// The block that receives the options.
    block: u32,
}

// === impl Reader ===

impl Reader {
    pub(crate) fn new() -> Self {
        Self {
            config: SshConfig::default(),
            home: std::env::home_dir(),
            ignored: Vec::new(),
            mistakes: Vec::new(),
            more: 0,
            read: 0,
        }
    }

    pub(crate) fn optional(&mut self, path: &Path, user: bool) -> Result<(), Error> {
        match fs::metadata(path) {
            Ok(_) => self.file(path, user, user, 0, None),
            Err(error) if missing(&error) => Ok(()),
            Err(error) => Err(Error::read(path, error)),
        }
    }

    pub(crate) fn required(&mut self, path: &Path) -> Result<(), Error> {
        self.file(path, true, false, 0, None)
    }

    pub(crate) fn text(&mut self, text: &str, name: &str) -> Result<(), Error> {
        self.lines(text, name, true, 0, None)
    }

    /// Returns the configuration, if there were no mistakes.
    pub(crate) fn finish(mut self) -> Result<SshConfig, Error> {
        if !self.mistakes.is_empty() {
            return Err(Error::Mistakes(Mistakes {
                shown: self.mistakes,
                more: self.more,
            }));
        }
        self.index();
        Ok(self.config)
    }

    /// Records which blocks can be looked up by name.
    fn index(&mut self) {
        let config = &mut self.config;
        let mut names: Vec<Option<Vec<Box<str>>>> = Vec::with_capacity(config.blocks.len());
        for block in &config.blocks {
            let inherited = block.within.and_then(|within| names[within as usize].clone());
            names.push(match &block.condition {
                Condition::Same(block) => names[*block as usize].clone(),
                _ if inherited.is_some() => inherited,
                Condition::Host(patterns) => {
                    let added = patterns.iter().filter(|pattern| !pattern.negated);
                    let plain = added.clone().all(|pattern| !pattern.wild);
                    plain.then(|| added.map(|pattern| pattern.text.clone()).collect())
                }
                Condition::Always | Condition::Match(_) => None,
            });
        }
        for (index, names) in (0u32..).zip(names) {
            match names {
                None => config.for_all.push(index),
                Some(names) => {
                    for name in names {
                        let blocks = config.by_name.entry(name).or_default();
                        if blocks.last() != Some(&index) {
                            blocks.push(index);
                        }
                    }
                }
            }
        }
    }

    fn mistake(&mut self, mistake: SourceError) {
        if self.mistakes.len() < MAX_MISTAKES {
            self.mistakes.push(mistake);
        } else {
            self.more += 1;
        }
    }

    /// Reads a file; with `check`, refuses one that others can write to.
    fn file(
        &mut self,
        path: &Path,
        user: bool,
        check: bool,
        depth: usize,
        within: Option<u32>,
    ) -> Result<(), Error> {
        let name = path.display().to_string();
        if depth > MAX_DEPTH {
            let message = format!("files include each other more than {MAX_DEPTH} deep");
            return Err(SourceError::whole(message, name).into());
        }
        self.read += 1;
        if self.read > MAX_FILES {
            let message = format!("more than {MAX_FILES} files are included");
            return Err(SourceError::whole(message, name).into());
        }
        let fail = |source| Error::read(path, source);
        let file = fs::File::open(path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        if check && !is_trusted(&metadata) {
            return Err(SourceError::whole(
                "this file belongs to another user, or others can write to it",
                name,
            )
            .hint("ssh refuses it too; fix it with `chmod go-w` or `chown`")
            .into());
        }
        let bytes = match bounded::bytes_of(file, MAX_FILE_BYTES) {
            Ok(bytes) => bytes,
            Err(ReadError::Io(error)) => return Err(fail(error)),
            Err(error) => return Err(SourceError::whole(error.to_string(), name).into()),
        };
        self.lines(&String::from_utf8_lossy(&bytes), &name, user, depth, within)
    }

    fn lines(
        &mut self,
        text: &str,
        name: &str,
        user: bool,
        depth: usize,
        within: Option<u32>,
    ) -> Result<(), Error> {
        let number = u32::try_from(self.config.files.len()).unwrap_or(u32::MAX);
        self.config.files.push(name.into());
        let block = self.begin(Condition::Always, within);
        let mut open = Open {
            number,
            user,
            depth,
            within,
            block,
        };
        for (index, text) in text.split('\n').enumerate() {
            let line = Line {
                file: name,
                number: index + 1,
                text: text.trim_end_matches([' ', '\t', '\r', '\n', '\u{c}']),
                hidden: false,
            };
            self.line(&line, &mut open)?;
        }
        Ok(())
    }

    fn begin(&mut self, condition: Condition, within: Option<u32>) -> u32 {
        let index = u32::try_from(self.config.blocks.len()).unwrap_or(u32::MAX);
        self.config.blocks.push(Block {
            condition,
            within,
            settings: Vec::new(),
        });
        index
    }

    fn line(&mut self, line: &Line<'_>, open: &mut Open) -> Result<(), Error> {
        let start = line.text.trim_start_matches([' ', '\t', '\r']);
        if start.is_empty() || start.starts_with('#') {
            return Ok(());
        }
        let offset = line.text.len() - start.len();
        let mut rest = Some(start);
        let Some(keyword) = delimited(&mut rest).filter(|keyword| !keyword.is_empty()) else {
            self.mistake(line.error(Fault::new(offset, "expected the name of an option")));
            return Ok(());
        };
        let rest = rest
            .unwrap_or_default()
            .trim_start_matches([' ', '\t', '\r', '\n']);
        let at = line.text.len() - rest.len();
        match self.option(&keyword, rest, at, line, open) {
            Ok(()) => {}
            Err(Trouble::Here(fault)) => self.mistake(line.error(fault)),
            Err(Trouble::Keyword(fault)) => self.mistake(line.error(fault.shifted(offset))),
            Err(Trouble::Elsewhere(error)) => return Err(error),
        }
        Ok(())
    }

    /// Reads one option, whose arguments `rest` start at `at`.
    fn option(
        &mut self,
        written: &str,
        rest: &str,
        at: usize,
        line: &Line<'_>,
        open: &mut Open,
    ) -> Result<(), Trouble> {
        let keyword = &*written.to_ascii_lowercase();
        if rest.is_empty() {
            return Err(Fault::new(at, format!("`{written}` needs a value")).into());
        }
        let known = keywords::is_known(keyword);
        if !known && !wildcard::any(&self.ignored, keyword) {
            let fault = Fault::new(0, format!("ssh has no option `{written}`"));
            return Err(Trouble::Keyword(
                match SourceError::nearest(keyword, keywords::KEYWORDS.iter().copied()) {
                    Some(near) => fault.hint(format!("did you mean `{near}`?")),
                    None => fault.hint("if another program needs it, list it in `IgnoreUnknown`"),
                },
            ));
        }
        let place = Place {
            file: open.number,
            line: u32::try_from(line.number).unwrap_or(u32::MAX),
        };
        let Some(words) = arguments(rest) else {
            return Err(Fault::new(at, "a quote is never closed").into());
        };
        let one = |words: &[String]| -> Result<String, Fault> {
            match words {
                [word] if !word.is_empty() => Ok(word.clone()),
                [] | [_] => Err(Fault::new(at, format!("`{written}` needs a value"))),
                [_, second, ..] => Err(Fault::new(
                    rest.find(second.as_str()).map_or(at, |found| at + found),
                    format!("`{written}` takes one value; `{second}` is one too many"),
                )
                .hint("a value with blanks needs quotes")),
            }
        };
        let wrong =
            |what: &str, word: &str| Fault::new(at, format!("`{written}` must be {what}, not `{word}`"));
        let value = match keyword {
            "host" => {
                if words.iter().any(String::is_empty) {
                    return Err(Fault::new(at, "a name of `host` is empty").into());
                }
                let patterns = words.iter().map(|word| HostPattern::new(word)).collect();
                open.block = self.begin(Condition::Host(patterns), open.within);
                return Ok(());
            }
            "match" => {
                let criteria = self.criteria(rest, at, place)?;
                open.block = self.begin(Condition::Match(criteria), open.within);
                return Ok(());
            }
            "include" => return self.include(&words, at, open),
            // These two take the rest of the line unparsed.
            "proxycommand" => Value::ProxyCommand(rest.trim_start_matches([' ', '\t', '=']).to_owned()),
            "proxyjump" => {
                let text = rest.split('#').next().unwrap_or_default().trim();
                let hops = Hop::chain(text).map_err(|message| Fault::new(at, message))?;
                Value::ProxyJump(text.to_owned(), hops)
            }
            "hostname" => Value::HostName(one(&words)?),
            "user" => Value::User(one(&words)?),
            "port" => {
                let word = one(&words)?;
                let port = word.strip_prefix('+').unwrap_or(&word);
                Value::Port(crate::port(port).map_err(|message| Fault::new(at, message))?)
            }
            "identityfile" | "identityfile2" => Value::IdentityFile(one(&words)?),
            "certificatefile" => Value::CertificateFile(one(&words)?),
            "identityagent" => Value::IdentityAgent(one(&words)?),
            "hostkeyalias" => Value::HostKeyAlias(one(&words)?),
            "bindaddress" => Value::BindAddress(one(&words)?),
            "forwardagent" => Value::ForwardAgent(one(&words)?),
            "preferredauthentications" => Value::PreferredAuthentications(one(&words)?),
            "tag" => Value::Tag(one(&words)?),
            "identitiesonly" | "batchmode" | "canonicalizehostname" => {
                let word = one(&words)?;
                let truth = match word.to_ascii_lowercase().as_str() {
                    "yes" | "true" => true,
                    "no" | "false" => false,
                    "always" if keyword == "canonicalizehostname" => true,
                    _ => return Err(wrong("yes or no", &word).into()),
                };
                match keyword {
                    "identitiesonly" => Value::IdentitiesOnly(truth),
                    "batchmode" => Value::BatchMode(truth),
                    _ => Value::CanonicalizeHostname(truth),
                }
            }
            "stricthostkeychecking" => {
                let word = one(&words)?;
                Value::StrictHostKeyChecking(
                    StrictHostKeyChecking::parse(&word)
                        .ok_or_else(|| wrong("yes, no, ask or accept-new", &word))?,
                )
            }
            "addressfamily" => {
                let word = one(&words)?;
                Value::AddressFamily(match word.to_ascii_lowercase().as_str() {
                    "any" => AddressFamily::Any,
                    "inet" => AddressFamily::Inet,
                    "inet6" => AddressFamily::Inet6,
                    _ => return Err(wrong("any, inet or inet6", &word).into()),
                })
            }
            "connecttimeout" | "serveraliveinterval" => {
                let word = one(&words)?;
                let time = match word.as_str() {
                    "none" => None,
                    word => Some(seconds(word).ok_or_else(|| wrong("a time such as `30` or `1m`", word))?),
                };
                if keyword == "connecttimeout" {
                    Value::ConnectTimeout(time)
                } else {
                    Value::ServerAliveInterval(time)
                }
            }
            "serveralivecountmax" => {
                let word = one(&words)?;
                let count = word.parse().ok().filter(|count| i32::try_from(*count).is_ok());
                Value::ServerAliveCountMax(count.ok_or_else(|| wrong("a number", &word))?)
            }
            "userknownhostsfile" | "globalknownhostsfile" => {
                let none = |word: &String| word.eq_ignore_ascii_case("none");
                // As in ssh, a line with nothing but a comment sets nothing.
                if words.is_empty() {
                    return Ok(());
                }
                if words.iter().any(String::is_empty) {
                    return Err(Fault::new(at, format!("`{written}` needs file names")).into());
                }
                if words.len() > 1 && words.iter().any(none) {
                    return Err(Fault::new(at, "`none` can't be combined with files").into());
                }
                if words.len() > MAX_KNOWN_HOSTS {
                    let message = format!("`{written}` takes at most {MAX_KNOWN_HOSTS} files");
                    return Err(Fault::new(at, message).into());
                }
                if keyword == "userknownhostsfile" {
                    Value::UserKnownHostsFiles(words)
                } else {
                    Value::GlobalKnownHostsFiles(words)
                }
            }
            "ignoreunknown" => {
                let word = one(&words)?;
                // The first one counts, unless it applies only to some hosts.
                let block = &self.config.blocks[open.block as usize];
                let always = matches!(block.condition, Condition::Always) && block.within.is_none();
                if !always || self.ignored.is_empty() {
                    self.ignored.extend(HostPattern::list(&word, true));
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.set(open, place, value);
        Ok(())
    }

    fn set(&mut self, open: &Open, place: Place, value: Value) {
        if let Value::CanonicalizeHostname(true) = value {
            self.config.wants_final = true;
            let warning = self.config.mistake(
                place,
                "`CanonicalizeHostname` has no effect: names are used as they are",
            );
            self.config
                .warnings
                .push(warning.hint("write full names, or `HostName %h.example.org`"));
        }
        let block = &mut self.config.blocks[open.block as usize];
        block.settings.push(Setting { value, place });
    }

    /// Reads the conditions of a `Match`.
    fn criteria(&mut self, line: &str, at: usize, place: Place) -> Result<Vec<Criterion>, Trouble> {
        let mut rest = Some(line);
        let mut criteria = Vec::new();
        loop {
            let offset = at + rest.map_or(line.len(), |rest| line.len() - rest.len());
            let Some(word) = delimited(&mut rest).filter(|word| !word.is_empty()) else {
                break;
            };
            if word.starts_with('#') {
                break;
            }
            let (negated, name) = match word.strip_prefix('!') {
                Some(name) => (true, name),
                None => (false, &*word),
            };
            let name = name.to_ascii_lowercase();
            let alone = |test: Test| Criterion { negated, test, place };
            if name == "all" {
                let next = delimited(&mut rest);
                let ends = next.is_none_or(|next| next.is_empty() || next.starts_with('#'));
                // OpenSSH permits one condition before it.
                if !ends || criteria.len() > 1 {
                    return Err(Fault::new(
                        offset,
                        "`all` can't be combined with other conditions of a `Match`",
                    )
                    .into());
                }
                criteria.push(alone(Test::All));
                return Ok(criteria);
            }
            if name == "final" || name == "canonical" {
                self.config.wants_final |= name == "final";
                criteria.push(alone(Test::Final));
                continue;
            }
            let argument = delimited(&mut rest).filter(|word| !word.is_empty() && !word.starts_with('#'));
            let Some(argument) = argument else {
                return Err(Fault::new(offset, format!("`{name}` needs a value")).into());
            };
            let test = match name.as_str() {
                "host" => Test::Host(HostPattern::list(&argument, true)),
                "originalhost" => Test::OriginalHost(HostPattern::list(&argument, true)),
                "user" => Test::User(HostPattern::list(&argument, false)),
                "localuser" => Test::LocalUser(HostPattern::list(&argument, false)),
                "tagged" => Test::Tagged(HostPattern::list(&argument, false)),
                "exec" => Test::Exec(argument.into_owned()),
                "localnetwork" | "sessiontype" | "command" | "version" => {
                    let warning = self.config.mistake(
                        place,
                        format!("`Match {name}` is not supported, so this block never applies"),
                    );
                    self.config.warnings.push(warning);
                    Test::Unsupported
                }
                _ => {
                    let known = "all canonical final host originalhost user localuser exec";
                    let near = SourceError::nearest(&name, known.split(' '));
                    return Err(Trouble::Here(Fault {
                        hint: near.map(|near| format!("did you mean `{near}`?")),
                        ..Fault::new(offset, format!("`Match` has no condition `{name}`"))
                    }));
                }
            };
            criteria.push(alone(test));
        }
        if criteria.is_empty() {
            return Err(Fault::new(at, "a `Match` needs a condition").into());
        }
        Ok(criteria)
    }

    fn include(&mut self, words: &[String], at: usize, open: &mut Open) -> Result<(), Trouble> {
        if words.is_empty() {
            return Err(Fault::new(at, "`include` needs file names").into());
        }
        let here = open.block;
        for word in words {
            if word.is_empty() {
                return Err(Fault::new(at, "a file name of `include` is empty").into());
            }
            if word.starts_with('~') && !open.user {
                return Err(Fault::new(at, "the system's file can't include from a home directory").into());
            }
            let path: Cow<'_, Path> = if let Some(rest) = word.strip_prefix('~') {
                let (user, rest) = rest.split_once('/').unwrap_or((rest, ""));
                let home = match user {
                    "" => self.home.clone(),
                    user => tokens::home_of(user),
                };
                let home = home.ok_or_else(|| Fault::new(at, format!("`~{user}` has no home directory")))?;
                Cow::Owned(home.join(rest))
            } else if word.starts_with('/') {
                Cow::Borrowed(Path::new(word))
            } else if open.user {
                let Some(home) = &self.home else { continue };
                Cow::Owned(home.join(".ssh").join(word))
            } else {
                Cow::Owned(Path::new("/etc/ssh").join(word))
            };
            for file in matching(&path) {
                match self.file(&file, open.user, true, open.depth + 1, Some(here)) {
                    Err(Error::Read { source, .. }) if missing(&source) => {}
                    other => other.map_err(Trouble::Elsewhere)?,
                }
            }
        }
        open.block = self.begin(Condition::Same(here), open.within);
        Ok(())
    }
}

/// A fault and where to show it.
enum Trouble {
    /// At its offset in this line.
    Here(Fault),
    /// At the line's keyword.
    Keyword(Fault),
    /// In another file.
    Elsewhere(Error),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Trouble::Here(fault)
    }
}

fn missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.kind() == io::ErrorKind::NotADirectory
}

/// Whether only the user and root can write to a file.
fn is_trusted(metadata: &fs::Metadata) -> bool {
    let own = rustix::process::getuid().as_raw();
    (metadata.uid() == 0 || metadata.uid() == own) && metadata.mode() & 0o022 == 0
}

/// Returns the files that match a path with wildcards, sorted.
fn matching(path: &Path) -> Vec<PathBuf> {
    let as_shells_do = MatchOptions {
        require_literal_separator: true,
        require_literal_leading_dot: true,
        ..MatchOptions::default()
    };
    let text = path.to_string_lossy();
    match glob::glob_with(&text, as_shells_do) {
        Ok(paths) => paths.flatten().take(MAX_FILES + 1).collect(),
        // An invalid pattern may still be a file's name.
        Err(_) => vec![path.to_owned()],
    }
}
