//! What is laid over the tree: the packages, the program that lives through it all, and the unit that
//! starts it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::super::quoted;

/// After everything else, as somebody would log in.
const UNIT: &str = "[Unit]\nAfter=multi-user.target\n\
    [Service]\nType=exec\nExecStart=/bin/sh /payload/run.sh\nTimeoutStopSec=5\n";
const NAME: &str = "weir-scenario.service";

/// What goes in.
pub(super) struct Payload<'a> {
    pub(super) scenario: &'a Path,
    /// The package, and a later one.
    pub(super) packages: &'a [PathBuf; 2],
    /// Modules of the kernel, in the order in which they are loaded.
    pub(super) modules: &'a [PathBuf],
    /// Calls a second, and streams at the same time.
    pub(super) load: (u32, u32),
}

/// Lays it below `root`.
pub(super) fn lay(root: &Path, payload: &Payload<'_>) -> anyhow::Result<()> {
    let units = root.join("etc/systemd/system");
    let wants = units.join("graphical.target.wants");
    fs::create_dir_all(&wants)?;
    fs::write(units.join(NAME), UNIT)?;
    symlink(Path::new("..").join(NAME), wants.join(NAME))?;
    let inside = root.join("payload");
    fs::create_dir_all(&inside)?;
    fs::write(inside.join("run.sh"), script(payload)?)?;
    let all = [payload.scenario].into_iter();
    let all = all.chain(payload.packages.iter().map(PathBuf::as_path));
    for file in all.chain(payload.modules.iter().map(PathBuf::as_path)) {
        let to = inside.join(name(file)?);
        fs::copy(file, to).with_context(|| format!("copy {}", file.display()))?;
    }
    Ok(())
}

/// What it says goes to the second serial line, as in all our machines; its last line is the status.
fn script(payload: &Payload<'_>) -> anyhow::Result<String> {
    let mut lines = vec![
        "export LANG=C.UTF-8 HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        // No terminal where it is no machine.
        "stty -F /dev/ttyS1 raw -echo 2>/dev/null".to_owned(),
        "exec >/dev/ttyS1 2>&1 </dev/null".to_owned(),
    ];
    for module in payload.modules {
        lines.push(format!("insmod /payload/{}", quoted(name(module)?)));
    }
    let [package, later] = payload.packages;
    let (rate, streams) = payload.load;
    lines.push(format!(
        "/payload/{} play /payload/{} /payload/{} --rate {rate} --streams {streams}",
        quoted(name(payload.scenario)?),
        quoted(name(package)?),
        quoted(name(later)?),
    ));
    lines.push("echo \"vm: status $?\"".to_owned());
    // The line is slow.
    lines.push("sleep 1".to_owned());
    lines.push("systemctl poweroff --force --force".to_owned());
    Ok(lines.join("\n") + "\n")
}

fn name(file: &Path) -> anyhow::Result<&str> {
    file.file_name().and_then(|name| name.to_str()).context("a file has a name")
}
