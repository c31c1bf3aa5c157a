//! Puts downloaded files into their places.

use std::fs::File;
use std::io;
use std::path::Path;

use reveille_text::replace::keep_attributes;

/// Moves a complete copy to its place, with the owner, group, mode and ACL of the file that it replaces.
pub(super) fn place(copy: &Path, target: &Path) -> io::Result<()> {
    replaceable(target)?;
    let is_file = |path| std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    let kept = if is_file(copy) && is_file(target) {
        File::open(target).and_then(|earlier| keep_attributes(&earlier, &File::open(copy)?))
    } else {
        Ok(())
    };
    kept.and_then(|()| std::fs::rename(copy, target))
        .map_err(|error| io::Error::new(error.kind(), format!("can't write {}: {error}", target.display())))
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
