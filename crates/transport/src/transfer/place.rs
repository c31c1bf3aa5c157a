//! Puts downloaded files into their places.

use std::fs::File;
use std::io;
use std::path::Path;

use reveille_text::replace::keep_attributes;

/// Moves a complete copy to its place, with the owner, group, mode and ACL of the file that it replaces.
pub(super) fn place(copy: &Path, target: &Path) -> io::Result<()> {
    let is_file = |path| std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    let kept = if is_file(copy) && is_file(target) {
        File::open(target).and_then(|earlier| keep_attributes(&earlier, &File::open(copy)?))
    } else {
        Ok(())
    };
    kept.and_then(|()| std::fs::rename(copy, target))
        .map_err(|error| io::Error::new(error.kind(), format!("can't write {}: {error}", target.display())))
}
