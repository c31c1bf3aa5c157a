//! Writing a whole snapshot, in MirrorManager's order.

use std::io::{self, Write};

use super::schema::{directory, entry, files, mirror_list};
use super::write::Message;

/// A snapshot in progress.
#[derive(Debug)]
pub(crate) struct ListWriter<W> {
    output: W,
    message: Message,
    inner: Message,
    innermost: Message,
}

/// The hosts of a directory, to write.
#[derive(Debug, Clone, Default)]
pub(crate) struct DirectoryEntry<'a> {
    pub(crate) name: &'a str,
    pub(crate) subpath: &'a str,
    pub(crate) global: &'a [i64],
    pub(crate) by_country: &'a [(&'a str, Vec<i64>)],
    pub(crate) by_host: &'a [(i64, Vec<i64>)],
}

/// One version of a file, to write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) timestamp: u64,
    pub(crate) size: u64,
    pub(crate) md5: String,
    pub(crate) sha1: String,
    pub(crate) sha256: String,
    pub(crate) sha512: String,
}

// === impl ListWriter ===

impl<W: Write> ListWriter<W> {
    pub(crate) fn new(output: W, time: u64) -> io::Result<Self> {
        let mut list = Self {
            output,
            message: Message::default(),
            inner: Message::default(),
            innermost: Message::default(),
        };
        list.message.number(mirror_list::TIME, time);
        list.output.write_all(list.message.bytes())?;
        Ok(list)
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.output.flush()?;
        Ok(self.output)
    }

    pub(crate) fn url(&mut self, id: i64, url: &str) -> io::Result<()> {
        self.inner.integer(entry::KEY, id).text(entry::VALUE, url);
        self.write(mirror_list::URL)
    }

    pub(crate) fn host_country(&mut self, id: i64, country: &str) -> io::Result<()> {
        self.inner.integer(entry::KEY, id).text(entry::VALUE, country);
        self.write(mirror_list::HOST_COUNTRY)
    }

    pub(crate) fn host_bandwidth(&mut self, id: i64, bandwidth: i64) -> io::Result<()> {
        self.inner
            .integer(entry::KEY, id)
            .integer(entry::VALUE, bandwidth);
        self.write(mirror_list::HOST_BANDWIDTH)
    }

    pub(crate) fn asn(&mut self, system: u32, hosts: &[i64]) -> io::Result<()> {
        self.inner.integer(entry::KEY, system.into());
        self.values(hosts);
        self.write(mirror_list::HOST_ASN)
    }

    pub(crate) fn netblock(&mut self, network: &str, hosts: &[i64]) -> io::Result<()> {
        self.inner.text(entry::KEY, network);
        self.values(hosts);
        self.write(mirror_list::HOST_NETBLOCK)
    }

    pub(crate) fn repository(&mut self, key: &str, directory: &str) -> io::Result<()> {
        self.pair(mirror_list::REPOSITORY_DIRECTORY, key, directory)
    }

    pub(crate) fn file(&mut self, directory: &str, name: &str, versions: &[Version]) -> io::Result<()> {
        self.inner.text(files::DIRECTORY, directory);
        let mut file = Message::default();
        file.text(files::FILE_NAME, name);
        for version in versions {
            self.innermost.clear();
            self.innermost
                .number(files::TIMESTAMP, version.timestamp)
                .number(files::SIZE, version.size);
            for (field, hash) in [
                (files::SHA1, &version.sha1),
                (files::MD5, &version.md5),
                (files::SHA256, &version.sha256),
                (files::SHA512, &version.sha512),
            ] {
                if !hash.is_empty() {
                    self.innermost.text(field, hash);
                }
            }
            file.message(files::DETAILS, &self.innermost);
        }
        self.inner.message(files::FILES, &file);
        self.write(mirror_list::FILE_DETAILS)
    }

    pub(crate) fn directory(&mut self, entry: &DirectoryEntry<'_>) -> io::Result<()> {
        self.inner.text(directory::NAME, entry.name);
        for host in entry.global {
            self.inner.integer(directory::GLOBAL, *host);
        }
        if !entry.subpath.is_empty() {
            self.inner.text(directory::SUBPATH, entry.subpath);
        }
        for (country, hosts) in entry.by_country {
            self.innermost.clear();
            self.innermost.text(entry::KEY, country);
            for host in hosts {
                self.innermost.integer(entry::VALUE, *host);
            }
            self.inner.message(directory::BY_COUNTRY, &self.innermost);
        }
        for (host, urls) in entry.by_host {
            self.innermost.clear();
            self.innermost.integer(entry::KEY, *host);
            for url in urls {
                self.innermost.integer(entry::VALUE, *url);
            }
            self.inner.message(directory::BY_HOST, &self.innermost);
        }
        self.write(mirror_list::DIRECTORY)
    }

    fn pair(&mut self, field: u32, key: &str, value: &str) -> io::Result<()> {
        self.inner.text(entry::KEY, key).text(entry::VALUE, value);
        self.write(field)
    }

    fn values(&mut self, hosts: &[i64]) {
        for host in hosts {
            self.inner.integer(entry::VALUE, *host);
        }
    }

    fn write(&mut self, field: u32) -> io::Result<()> {
        self.message.clear();
        self.message.message(field, &self.inner);
        self.inner.clear();
        self.output.write_all(self.message.bytes())
    }
}

/// Fields of MirrorManager that lists in YAML do not have.
#[cfg(any(test, feature = "synthetic"))]
impl<W: Write> ListWriter<W> {
    pub(crate) fn host_countries_allowed(&mut self, id: i64, countries: &[&str]) -> io::Result<()> {
        self.inner.integer(entry::KEY, id);
        for country in countries {
            self.inner.text(entry::VALUE, country);
        }
        self.write(mirror_list::HOST_COUNTRY_ALLOWED)
    }

    pub(crate) fn netblock_country(&mut self, network: &str, country: &str) -> io::Result<()> {
        self.pair(mirror_list::NETBLOCK_COUNTRY, network, country)
    }

    pub(crate) fn location(&mut self, name: &str, hosts: &[i64]) -> io::Result<()> {
        self.inner.text(entry::KEY, name);
        self.values(hosts);
        self.write(mirror_list::LOCATION)
    }

    pub(crate) fn redirect(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.pair(mirror_list::REPOSITORY_REDIRECT, from, to)
    }

    pub(crate) fn continent(&mut self, country: &str, continent: &str) -> io::Result<()> {
        self.pair(mirror_list::COUNTRY_CONTINENT_REDIRECT, country, continent)
    }

    pub(crate) fn disabled(&mut self, repository: &str) -> io::Result<()> {
        self.inner.text(entry::KEY, repository).number(entry::VALUE, 1);
        self.write(mirror_list::DISABLED_REPOSITORY)
    }
}
