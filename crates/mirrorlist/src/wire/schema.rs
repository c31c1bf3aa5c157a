//! The numbers of fields in MirrorManager's schema.

/// `mirrormanager.MirrorList`, the whole file.
pub(crate) mod mirror_list {
    pub(crate) const TIME: u32 = 1;
    pub(crate) const NETBLOCK_COUNTRY: u32 = 2;
    pub(crate) const LOCATION: u32 = 3;
    pub(crate) const URL: u32 = 4;
    pub(crate) const FILE_DETAILS: u32 = 5;
    pub(crate) const DISABLED_REPOSITORY: u32 = 6;
    pub(crate) const COUNTRY_CONTINENT_REDIRECT: u32 = 7;
    pub(crate) const REPOSITORY_REDIRECT: u32 = 8;
    pub(crate) const REPOSITORY_DIRECTORY: u32 = 9;
    pub(crate) const HOST_ASN: u32 = 10;
    pub(crate) const HOST_COUNTRY: u32 = 12;
    pub(crate) const HOST_BANDWIDTH: u32 = 13;
    pub(crate) const HOST_COUNTRY_ALLOWED: u32 = 14;
    pub(crate) const HOST_NETBLOCK: u32 = 15;
    pub(crate) const DIRECTORY: u32 = 16;
}

/// One entry of a map.
pub(crate) mod entry {
    pub(crate) const KEY: u32 = 1;
    pub(crate) const VALUE: u32 = 2;
}

/// `MirrorListCacheType`: the hosts of a directory.
pub(crate) mod directory {
    pub(crate) const NAME: u32 = 1;
    pub(crate) const GLOBAL: u32 = 2;
    pub(crate) const SUBPATH: u32 = 3;
    pub(crate) const BY_COUNTRY: u32 = 4;
    pub(crate) const BY_HOST: u32 = 6;
}

/// `FileDetailsCacheDirectoryType` and the messages in it.
pub(crate) mod files {
    pub(crate) const DIRECTORY: u32 = 1;
    pub(crate) const FILES: u32 = 2;
    pub(crate) const FILE_NAME: u32 = 1;
    pub(crate) const DETAILS: u32 = 2;
    pub(crate) const TIMESTAMP: u32 = 1;
    pub(crate) const SIZE: u32 = 2;
    pub(crate) const SHA1: u32 = 3;
    pub(crate) const MD5: u32 = 4;
    pub(crate) const SHA256: u32 = 5;
    pub(crate) const SHA512: u32 = 6;
}
