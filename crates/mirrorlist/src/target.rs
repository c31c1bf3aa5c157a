//! The directory and file that a request is about.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reveille_text::harmless::word;

use crate::catalog::{Catalog, Directory};
use crate::query::Query;
use crate::refusal::Refusal;

/// Longest name of a file, as in file systems. The name comes from the client, and the answer has it for every mirror.
const LONGEST_NAME: usize = 255;

/// Characters that are encoded in a file's name, so that it stays one word in a URL and in a line.
const NOT_IN_A_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A directory of the catalogue, and a file in it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) directory: Directory,
    /// The directory's name.
    pub(crate) name: String,
    /// The file's name; empty for the directory itself.
    pub(crate) file: String,
    /// The beginning of the answer's first line.
    pub(crate) header: String,
}

// === impl Target ===

impl Target {
    /// Finds the target of a request; `path` takes precedence over `repo` and `arch`.
    pub(crate) fn find(catalog: &Catalog, query: &Query<'_>, metalink: bool) -> Result<Self, Refusal> {
        match (&query.path, &query.repo, &query.arch) {
            (Some(path), _, _) => Self::by_path(catalog, path),
            (None, Some(repo), Some(arch)) => Self::by_repository(catalog, repo, arch, metalink),
            _ => Err(Refusal::NothingAsked),
        }
    }

    fn by_path(catalog: &Catalog, path: &str) -> Result<Self, Refusal> {
        let mut clean = String::with_capacity(path.len());
        for part in path.split('/').filter(|part| !part.is_empty()) {
            if !clean.is_empty() {
                clean.push('/');
            }
            clean.push_str(part);
        }
        let header = format!("# path = {} ", word(&clean));
        let (directory, name, file) = if let Some(directory) = catalog.directory(&clean) {
            (directory, clean, String::new())
        } else {
            let (name, file) = clean.rsplit_once('/').unwrap_or(("", &clean));
            if file.len() > LONGEST_NAME {
                return Err(Refusal::InvalidPath);
            }
            let directory = catalog.directory(name).ok_or(Refusal::InvalidPath)?;
            (directory, name.to_owned(), file.to_owned())
        };
        Ok(Self {
            directory,
            name,
            file,
            header,
        })
    }

    fn by_repository(catalog: &Catalog, repo: &str, arch: &str, metalink: bool) -> Result<Self, Refusal> {
        let repositories = &catalog.repositories;
        let arch = if repo.contains("source") { "source" } else { arch };
        // A redirection does not lead to another one.
        let repo = repositories.redirects.get(repo).map_or(repo, |to| to);
        let header = format!("# repo = {} arch = {} ", word(repo), word(arch));
        if repositories.disabled.contains(repo) {
            return Err(Refusal::Disabled);
        }
        let Some(name) = repositories.directory(&format!("{repo}+{arch}")) else {
            return Err(Refusal::InvalidRepository { header });
        };
        let mut name = name.to_owned();
        let mut file = String::new();
        if metalink {
            if !name.ends_with("/repodata") {
                name.push_str("/repodata");
            }
            file.push_str("repomd.xml");
        }
        let directory = catalog.directory(&name).ok_or(Refusal::NoDirectory)?;
        Ok(Self {
            directory,
            name,
            file,
            header,
        })
    }

    /// The part behind a host's URL: the directory below it, and the file, encoded because it comes from the client.
    pub(crate) fn suffix(&self, catalog: &Catalog) -> String {
        let subpath = catalog.subpath(self.directory);
        let mut suffix = String::with_capacity(subpath.len() + self.file.len() + 2);
        if !subpath.is_empty() {
            suffix.push('/');
            suffix.push_str(subpath);
        }
        if self.file.is_empty() || !suffix.ends_with('/') {
            suffix.push('/');
        }
        suffix.extend(utf8_percent_encode(&self.file, NOT_IN_A_PATH));
        suffix
    }
}
