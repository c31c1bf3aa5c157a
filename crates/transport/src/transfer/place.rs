//! Puts downloaded files into their places.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use reveille_text::replace::keep_attributes;

/// Moves a complete copy to its place, with the owner, group, mode and ACL of the file that it replaces, but without
/// permissions that it does not have on the host, where its mode is `there`.
pub(super) fn place(copy: &Path, target: &Path, there: u32) -> io::Result<()> {
    replaceable(target)?;
    let is_file = |path| std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    let kept = if is_file(copy) && is_file(target) {
        File::open(target).and_then(|earlier| {
            let copy = File::open(copy)?;
            keep_attributes(&earlier, &copy)?;
            narrow(&copy, there)
        })
    } else {
        Ok(())
    };
    kept.and_then(|()| std::fs::rename(copy, target))
        .map_err(|error| io::Error::new(error.kind(), format!("can't write {}: {error}", target.display())))
}

/// Takes the permissions that a file does not have on the host from everybody but its owner.
pub(super) fn narrow(file: &File, there: u32) -> io::Result<()> {
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    let narrower = mode & (there | 0o7700);
    if narrower == mode {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(narrower))
}

/// Refuses what is no file: a device that became one would break its machine.
pub(super) fn replaceable(target: &Path) -> io::Result<()> {
    let is_special = std::fs::symlink_metadata(target)
        .is_ok_and(|found| !found.is_file() && !found.is_dir() && !found.is_symlink());
    if is_special {
        return Err(io::Error::other(format!(
            "{} is a device, a pipe or a socket, and is not replaced",
            target.display()
        )));
    }
    Ok(())
}
