//! Files and directories that only the node's own account of the system may read.

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Makes the directory, and those above it that are missing.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A new file, for reading and writing. An error if there is something of that name.
pub(crate) fn new_file(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Makes the directory if it is missing, and closes it to others if it is not.
pub(crate) fn own_directory(path: &Path) -> io::Result<()> {
    make_directory(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o700))
}

/// Makes the file, empty, if it is missing, and closes it to others if it is not.
pub(crate) fn own_file(path: &Path) -> io::Result<()> {
    match new_file(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::set_permissions(path, Permissions::from_mode(0o600))
        }
        other => other.map(drop),
    }
}
