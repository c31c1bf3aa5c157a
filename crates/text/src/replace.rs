//! Replaces files as a whole: a reader sees the old content or the new content, never a mixture.
//!
//! The new content is written to a file beside the old one, synced, given the owner, group, mode, ACL and user
//! attributes of the old file, and renamed into place; then the directory is synced. If anything fails, the old file
//! stays and the new one is removed.
//!
//! - A symbolic link stays, and its target is replaced. Other hard links keep the old content.
//! - FIFOs, devices and sockets are written directly; so is this process's own standard output as `/dev/stdout`, which is
//!   written at its current position and not truncated.
//! - A file in a directory that accepts no new files, and a file that is a mount point, as in a container, are written in
//!   place.
//! - A file that is not writable is not replaced either.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr};

/// How many symbolic links are followed: Linux's own limit.
const LINKS: usize = 40;
/// How many bytes of a file's name go into the name beside it; a name has at most 255.
const NAME: usize = 200;
/// The longest attribute that Linux supports.
const ATTRIBUTE: usize = 64 << 10;
/// The attribute that holds a file's ACL.
const ACL: &[u8] = b"system.posix_acl_access";

/// New content for a file, which takes effect with [`commit`](Self::commit). Dropping it earlier changes nothing.
#[derive(Debug)]
pub struct Replacement {
    path: PathBuf,
    file: File,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// The content is written to `beside`, which is then renamed to `target`.
    Beside { beside: PathBuf, target: PathBuf },
    /// The content overwrites the old content, which is truncated at the first write.
    InPlace { target: PathBuf, begun: bool },
    /// The content goes to a device, a pipe or an open file of this process.
    Direct,
}

/// Where a path leads.
enum Goal {
    File(PathBuf),
    /// An open file of this process.
    Descriptor(u32, PathBuf),
}

/// Replaces a file's content.
///
/// # Errors
///
/// The file can't be written; then the old file is still there.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut replacement = Replacement::begin(path)?;
    replacement.write_all(bytes)?;
    replacement.commit()
}

// === impl Replacement ===

impl Replacement {
    /// Checks that a file can be written, and opens its replacement. Opening a FIFO waits for its reader.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let (file, way) = match follow(path)? {
            Goal::Descriptor(1, _) => (
                File::from(io::stdout().as_fd().try_clone_to_owned()?),
                Way::Direct,
            ),
            Goal::Descriptor(2, _) => (
                File::from(io::stderr().as_fd().try_clone_to_owned()?),
                Way::Direct,
            ),
            Goal::Descriptor(_, path) => (OpenOptions::new().append(true).open(path)?, Way::Direct),
            Goal::File(target) => begin_file(target)?,
        };
        let path = path.to_owned();
        Ok(Self { path, file, way })
    }

    /// The path as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file to be replaced; none if the content is written directly.
    pub fn target(&self) -> Option<&Path> {
        match &self.way {
            Way::Beside { target, .. } | Way::InPlace { target, .. } => Some(target),
            Way::Direct => None,
        }
    }

    /// Puts the content into place.
    ///
    /// # Errors
    ///
    /// The content can't be written completely; the file beside the target is removed.
    pub fn commit(mut self) -> io::Result<()> {
        self.begin_in_place()?;
        self.file.flush()?;
        match &self.way {
            Way::Direct => Ok(()),
            Way::InPlace { .. } => self.file.sync_all(),
            Way::Beside { beside, target } => {
                self.file.sync_all()?;
                match fs::rename(beside, target) {
                    Ok(()) => sync_directory(target),
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        let mut place = OpenOptions::new().write(true).truncate(true).open(target)?;
                        io::copy(&mut File::open(beside)?, &mut place)?;
                        place.sync_all()
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    fn begin_in_place(&mut self) -> io::Result<()> {
        if let Way::InPlace { begun, .. } = &mut self.way
            && !std::mem::replace(begun, true)
        {
            self.file.set_len(0)?;
        }
        Ok(())
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begin_in_place()?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if let Way::Beside { beside, .. } = &self.way {
            // After the rename there is nothing to remove.
            let _ = fs::remove_file(beside);
        }
    }
}

/// Follows symbolic links to a file, whether it exists or not. Links to open files of this process are not followed:
/// the file behind one may be a log that a shell appends to, which must not be replaced.
fn follow(path: &Path) -> io::Result<Goal> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let parent = path.parent().unwrap_or(Path::new(""));
        let number = path
            .file_name()
            .and_then(OsStr::to_str)
            .and_then(|name| name.parse().ok());
        if let Some(number) = number
            && [Path::new("/proc/self/fd"), Path::new("/dev/fd")].contains(&parent)
        {
            return Ok(Goal::Descriptor(number, path));
        }
        match fs::read_link(&path) {
            Ok(to) => path = parent.join(to),
            // Not a link, or missing; opening it will show which.
            Err(_) => return Ok(Goal::File(path)),
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}

/// Opens the file that the content goes to.
fn begin_file(target: PathBuf) -> io::Result<(File, Way)> {
    let earlier = match fs::metadata(&target) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (new, beside) = new_beside(&target, 0o666)?;
            return Ok((new, Way::Beside { beside, target }));
        }
        Err(error) => return Err(error),
    };
    let file = OpenOptions::new().write(true).open(&target)?;
    if !earlier.is_file() {
        return Ok((file, Way::Direct));
    }
    // Nobody else may read the file until it has the owner and the mode of the old one.
    let Ok((new, beside)) = new_beside(&target, 0o600) else {
        let begun = false;
        return Ok((file, Way::InPlace { target, begun }));
    };
    if let Err(error) = keep_attributes(&file, &new) {
        // The first error is more useful than an error from the removal.
        let _ = fs::remove_file(beside);
        return Err(error);
    }
    Ok((new, Way::Beside { beside, target }))
}

/// Creates a file beside `target`, under an unused name.
fn new_beside(target: &Path, mode: u32) -> io::Result<(File, PathBuf)> {
    let name = target
        .file_name()
        .ok_or_else(|| io::Error::other("the path has no file name"))?
        .as_bytes();
    for number in 0_u32.. {
        let mut beside = OsStr::new(".").to_owned();
        beside.push(OsStr::from_bytes(&name[..name.len().min(NAME)]));
        beside.push(format!(".{}-{number}.new", std::process::id()));
        let beside = target.with_file_name(beside);
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&beside);
        match opened {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return Ok((opened?, beside)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Gives a new file the owner, group, mode, ACL and user attributes of the file that it is going to replace. Only a
/// privileged process can give files away: if the owner, group or ACL can't be kept, nobody gets more rights than before.
///
/// # Errors
///
/// The mode can't be set.
pub fn keep_attributes(earlier: &File, new: &File) -> io::Result<()> {
    let metadata = earlier.metadata()?;
    let fresh = new.metadata()?;
    let owner = metadata.uid() == fresh.uid() || fchown(new, Some(metadata.uid()), None).is_ok();
    let group = metadata.gid() == fresh.gid() || fchown(new, None, Some(metadata.gid())).is_ok();
    let mut mode = metadata.permissions().mode() & 0o7777;
    if !(owner && group) {
        mode &= 0o777;
    }
    match attribute(earlier, ACL) {
        // If there is an ACL, the bits of the group limit what it grants; the group itself may have less.
        Some(acl) if !(owner && group) || fsetxattr(new, ACL, &acl, XattrFlags::empty()).is_err() => {
            mode &= 0o700;
        }
        Some(_) => {}
        None => {
            // The directory may give new files an ACL.
            let _ = fremovexattr(new, ACL);
            if !group {
                mode = mode & !0o070 | (mode & 0o007) << 3;
            }
        }
    }
    new.set_permissions(fs::Permissions::from_mode(mode))?;
    if owner && group {
        keep_others(earlier, new);
    }
    Ok(())
}

/// Copies the SELinux context and user attributes, as far as the filesystem has them. Capabilities are not copied: they
/// were granted to the old content.
fn keep_others(earlier: &File, new: &File) {
    let mut names = vec![0; ATTRIBUTE];
    let Ok(length) = flistxattr(earlier, &mut names[..]) else {
        return;
    };
    for name in names[..length].split(|byte| *byte == 0) {
        if (name.starts_with(b"user.") || name == b"security.selinux")
            && let Some(value) = attribute(earlier, name)
        {
            // A filesystem may refuse to set attributes that it returned.
            let _ = fsetxattr(new, name, &value, XattrFlags::empty());
        }
    }
}

fn attribute(file: &File, name: &[u8]) -> Option<Vec<u8>> {
    let mut value = vec![0; ATTRIBUTE];
    let length = fgetxattr(file, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

/// Syncs the directory, which makes the rename durable. A directory that can't be read can't be synced either.
fn sync_directory(target: &Path) -> io::Result<()> {
    let parent = target.parent().filter(|parent| *parent != Path::new(""));
    let Ok(directory) = File::open(parent.unwrap_or(Path::new("."))) else {
        return Ok(());
    };
    match directory.sync_all() {
        // Some filesystems can't sync directories.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;

    struct Scratch(tempfile::TempDir);

    impl Scratch {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn text(&self, name: &str) -> String {
            fs::read_to_string(self.at(name)).unwrap()
        }

        fn names(&self) -> usize {
            fs::read_dir(self.0.path()).unwrap().count()
        }
    }

    #[test]
    fn nothing_is_left_behind_when_it_fails() {
        let scratch = Scratch::new();
        replace(&scratch.at("file"), b"one").unwrap();
        replace(&scratch.at("file"), b"two").unwrap();
        assert_eq!(scratch.text("file"), "two");
        let mut given_up = Replacement::begin(&scratch.at("file")).unwrap();
        given_up.write_all(b"three").unwrap();
        drop(given_up);
        assert_eq!(scratch.text("file"), "two");
        fs::create_dir(scratch.at("taken")).unwrap();
        assert!(replace(&scratch.at("taken"), b"x").is_err());
        assert!(replace(&scratch.at("nowhere/file"), b"x").is_err());
        assert!(replace(Path::new("/"), b"x").is_err());
        assert!(replace(Path::new("/dev/full"), b"x").is_err());
        assert_eq!(scratch.names(), 2);
    }

    #[test]
    fn a_link_stays_and_what_it_leads_to_is_replaced() {
        let scratch = Scratch::new();
        fs::write(scratch.at("monday"), "earlier").unwrap();
        symlink("monday", scratch.at("day")).unwrap();
        symlink(scratch.at("day"), scratch.at("latest")).unwrap();
        replace(&scratch.at("latest"), b"later").unwrap();
        assert_eq!(scratch.text("monday"), "later");
        assert!(scratch.at("latest").is_symlink() && scratch.at("day").is_symlink());
        // A link whose target does not exist yet.
        symlink("tuesday", scratch.at("next")).unwrap();
        replace(&scratch.at("next"), b"new").unwrap();
        assert_eq!(scratch.text("tuesday"), "new");
        symlink("circle", scratch.at("circle")).unwrap();
        assert!(replace(&scratch.at("circle"), b"x").is_err());
        assert_eq!(scratch.names(), 6);
    }

    #[test]
    fn mode_and_attributes_are_kept() {
        let scratch = Scratch::new();
        let path = scratch.at("file");
        fs::write(&path, "one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let has_attributes = fsetxattr(&file, "user.note", b"hi", XattrFlags::empty()).is_ok();
        // Root can give files away, and keeps the owner of other users' files.
        let owner =
            fchown(&file, Some(12), Some(34)).map_or_else(|_| file.metadata().unwrap().uid(), |()| 12);
        replace(&path, b"two").unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(
            (metadata.permissions().mode() & 0o7777, metadata.uid()),
            (0o640, owner)
        );
        assert_ne!(metadata.ino(), file.metadata().unwrap().ino());
        let mut value = [0; 8];
        let kept = fgetxattr(File::open(&path).unwrap(), "user.note", &mut value[..]);
        assert_eq!(kept.is_ok_and(|length| &value[..length] == b"hi"), has_attributes);
    }

    #[test]
    fn an_acl_is_kept_and_one_of_the_directory_is_not_added() {
        let scratch = Scratch::new();
        let path = scratch.at("file");
        fs::write(&path, "one").unwrap();
        // Version 2; the owner reads and writes, user 12 reads, the group has nothing, the mask is r, others nothing.
        let acl: Vec<u8> = [2_u32.to_le_bytes().to_vec()]
            .into_iter()
            .chain(
                [
                    (1_u16, 6_u16, u32::MAX),
                    (2, 4, 12),
                    (4, 0, u32::MAX),
                    (0x10, 4, u32::MAX),
                    (0x20, 0, u32::MAX),
                ]
                .map(|(tag, bits, id)| {
                    [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &id.to_le_bytes()].concat()
                }),
            )
            .flatten()
            .collect();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        fsetxattr(&file, ACL, &acl, XattrFlags::empty()).unwrap();
        replace(&path, b"two").unwrap();
        let kept = |path: &Path| attribute(&File::open(path).unwrap(), ACL);
        assert_eq!(kept(&path).as_deref(), Some(&acl[..]));
        let plain = scratch.at("plain");
        fs::write(&plain, "one").unwrap();
        fs::set_permissions(&plain, fs::Permissions::from_mode(0o640)).unwrap();
        let directory = File::open(scratch.0.path()).unwrap();
        fsetxattr(&directory, "system.posix_acl_default", &acl, XattrFlags::empty()).unwrap();
        replace(&plain, b"two").unwrap();
        assert_eq!(kept(&plain), None);
        assert_eq!(fs::metadata(&plain).unwrap().permissions().mode() & 0o7777, 0o640);
    }

    #[test]
    fn a_fifo_and_devices_are_written_directly() {
        let scratch = Scratch::new();
        let fifo = scratch.at("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let reader = std::thread::spawn({
            let fifo = fifo.clone();
            move || fs::read_to_string(fifo).unwrap()
        });
        replace(&fifo, b"through").unwrap();
        assert_eq!(reader.join().unwrap(), "through");
        replace(Path::new("/dev/null"), b"x").unwrap();
        assert_eq!(scratch.names(), 1);
    }

    #[test]
    fn an_open_file_of_this_process_is_written_where_it_stands() {
        use std::os::fd::AsRawFd as _;

        let scratch = Scratch::new();
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .open(scratch.at("log"))
            .unwrap();
        log.write_all(b"before ").unwrap();
        let link = scratch.at("link");
        symlink(format!("/dev/fd/{}", log.as_raw_fd()), &link).unwrap();
        replace(&link, b"report ").unwrap();
        log.write_all(b"after").unwrap();
        assert_eq!(scratch.text("log"), "before report after");
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
        assert_eq!(scratch.names(), 2);
        assert!(
            Replacement::begin(Path::new("/dev/stdout"))
                .unwrap()
                .target()
                .is_none()
        );
    }

    #[test]
    fn a_directory_that_takes_no_files_has_its_file_written_in_place() {
        let scratch = Scratch::new();
        let path = scratch.at("file");
        fs::write(&path, "a long earlier text").unwrap();
        fs::set_permissions(scratch.0.path(), fs::Permissions::from_mode(0o555)).unwrap();
        let unfinished = Replacement::begin(&path).unwrap();
        assert_eq!(scratch.text("file"), "a long earlier text");
        drop(unfinished);
        replace(&path, b"new").unwrap();
        assert_eq!(scratch.text("file"), "new");
        fs::set_permissions(scratch.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    }
}
