//! Checksums of files, kept as the XML of metalinks.

use std::fmt::Write as _;

use super::texts::{Keys, Texts};
use crate::wire::{Fields, Malformed, files};
use crate::xml::push_escaped;

/// Details of files, by directory and name.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// The keys, while files are added.
    directories: Keys,
    /// Directory and name, with a character between them that neither contains.
    names: Keys,
    /// The versions of each, as XML.
    versions: Texts,
}

/// One version of a file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Details<'a> {
    pub(crate) timestamp: u64,
    pub(crate) size: u64,
    pub(crate) md5: &'a str,
    pub(crate) sha1: &'a str,
    pub(crate) sha256: &'a str,
    pub(crate) sha512: &'a str,
}

// === impl Files ===

impl Files {
    /// The versions of a file, as XML.
    pub(crate) fn get(&self, directory: &str, file: &str) -> Option<&str> {
        let number = self.names.number(&joined(directory, file))?;
        Some(self.versions.get(number))
    }

    /// Adds one message of `FileDetailsCache`. Returns the directory if it was added before: the first one counts.
    pub(crate) fn add(&mut self, message: &[u8]) -> Result<Option<String>, Malformed> {
        let mut directory = None;
        let mut found: Vec<(&str, Vec<Details>)> = Vec::new();
        for field in Fields::of(message) {
            match field? {
                (files::DIRECTORY, value) => directory = Some(value.text()?),
                (files::FILES, value) => {
                    let (name, versions) = file(value.bytes()?)?;
                    match found.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, known)) => known.extend(versions),
                        None => found.push((name, versions)),
                    }
                }
                _ => {}
            }
        }
        let directory = directory.ok_or(Malformed("file details have no directory"))?;
        if !self.directories.add(directory).ok_or(TOO_MUCH)? {
            return Ok(Some(directory.to_owned()));
        }
        for (name, versions) in found {
            if self.names.add(&joined(directory, name)).ok_or(TOO_MUCH)? {
                self.versions
                    .add_with(|text| write_versions(text, &versions))
                    .ok_or(TOO_MUCH)?;
            }
        }
        Ok(None)
    }

    /// Ends adding.
    pub(super) fn done(self) -> Self {
        Self {
            directories: Keys::default(),
            ..self
        }
    }
}

const TOO_MUCH: Malformed = Malformed("there are more than 4 GiB of file details");

fn joined(directory: &str, file: &str) -> String {
    [directory, "\0", file].concat()
}

fn file(message: &[u8]) -> Result<(&str, Vec<Details<'_>>), Malformed> {
    let mut name = None;
    let mut versions = Vec::new();
    for field in Fields::of(message) {
        match field? {
            (files::FILE_NAME, value) => name = Some(value.text()?),
            (files::DETAILS, value) => versions.push(details(value.bytes()?)?),
            _ => {}
        }
    }
    Ok((name.ok_or(Malformed("file details have no file name"))?, versions))
}

fn details(message: &[u8]) -> Result<Details<'_>, Malformed> {
    let mut details = Details::default();
    for field in Fields::of(message) {
        match field? {
            (files::TIMESTAMP, value) => details.timestamp = value.number()?,
            (files::SIZE, value) => details.size = value.number()?,
            (files::SHA1, value) => details.sha1 = value.text()?,
            (files::MD5, value) => details.md5 = value.text()?,
            (files::SHA256, value) => details.sha256 = value.text()?,
            (files::SHA512, value) => details.sha512 = value.text()?,
            _ => {}
        }
    }
    Ok(details)
}

/// The newest version comes first in the data; the others are alternates that mirrors may still have.
fn write_versions(text: &mut String, versions: &[Details]) {
    if let Some((newest, others)) = versions.split_first() {
        write_details(text, newest, "  ");
        if !others.is_empty() {
            text.push_str("   <mm0:alternates>\n");
            for other in others {
                text.push_str("    <mm0:alternate>\n");
                write_details(text, other, "     ");
                text.push_str("    </mm0:alternate>\n");
            }
            text.push_str("   </mm0:alternates>\n");
        }
    }
}

fn write_details(text: &mut String, details: &Details, indent: &str) {
    // Writing to a string does not fail.
    if details.timestamp != 0 {
        let _ = writeln!(
            text,
            "{indent} <mm0:timestamp>{}</mm0:timestamp>",
            details.timestamp
        );
    }
    if details.size != 0 {
        let _ = writeln!(text, "{indent} <size>{}</size>", details.size);
    }
    for part in [indent, " <verification>\n"] {
        text.push_str(part);
    }
    for (kind, hash) in [
        ("md5", details.md5),
        ("sha1", details.sha1),
        ("sha256", details.sha256),
        ("sha512", details.sha512),
    ] {
        if !hash.is_empty() {
            for part in [indent, "  <hash type=\"", kind, "\">"] {
                text.push_str(part);
            }
            push_escaped(text, hash);
            text.push_str("</hash>\n");
        }
    }
    for part in [indent, " </verification>\n"] {
        text.push_str(part);
    }
}
