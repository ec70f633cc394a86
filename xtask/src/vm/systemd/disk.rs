//! A host in a virtual machine starts from a disk: the layers as one file system.

use std::path::Path;

use anyhow::ensure;

use super::host::joined;
use crate::shell;

/// Holes where nothing is.
const SIZE: &str = "3G";
/// In a mount namespace, so that nothing of it stays mounted.
const WRITE: &str = "set -e; mount -t overlay -o \"ro,lowerdir=$1\" overlay \"$2\"; \
                     mke2fs -q -F -t ext4 -d \"$2\" \"$3\" \"$4\"";

/// Writes the disk's image.
pub(super) fn write(image: &Path, layers: &[&Path], scratch: &Path) -> anyhow::Result<()> {
    ensure!(
        shell::runs("mke2fs", &["-V"]),
        "mke2fs is missing: install it (Debian: apt-get install e2fsprogs)"
    );
    let merged = scratch.join("merged");
    std::fs::create_dir_all(&merged)?;
    let mut write = shell::command("unshare", &["--mount", "sh", "-c", WRITE, "sh"]);
    write.arg(joined(layers)?).arg(&merged).arg(image).arg(SIZE);
    shell::run(&mut write)
}
