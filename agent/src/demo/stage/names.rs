//! Name lookup on the stage: `/etc/hosts` with the given names, seen only here.

use std::fmt::Write;
use std::io;
use std::path::Path;

use rustix::mount::mount_bind;

use super::Host;

pub(super) fn resolve(hosts: &[Host<'_>], scratch: &Path) -> io::Result<()> {
    let file = scratch.join("hosts");
    std::fs::write(&file, table(hosts))?;
    mount_bind(&file, "/etc/hosts")?;
    Ok(())
}

fn table(hosts: &[Host<'_>]) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost\n");
    for host in hosts {
        for address in host.addresses {
            // Writing to a string cannot fail.
            let _infallible = writeln!(text, "{address} {}", host.name);
        }
    }
    text
}
