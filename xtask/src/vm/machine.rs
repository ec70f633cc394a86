//! The virtual machine: started, listened to, and ended whatever happens.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::{shell, test};

const QEMU: &str = "qemu-system-x86_64";
/// Before the tests, and after them: an emulated machine takes its time.
const BOOT: Duration = Duration::from_mins(3);
/// The console's end that is shown when the guest says no more.
const LAST_WORDS: usize = 25;
const KERNEL: &str = "console=ttyS0 quiet panic=-1 net.ifnames=0 mitigations=off 8250.nr_uarts=4";
/// It has no other disk, so that this is its name.
const DISK: &str = "root=/dev/nvme0n1 rootwait rw";

/// What a machine's first process is found in.
pub(super) enum Files<'a> {
    /// An archive that is unpacked into memory.
    Memory(&'a Path),
    /// A disk, which is written to.
    Disk(&'a Path),
}

/// What the guest's run came to.
pub(super) struct Verdict {
    /// Of the script.
    status: i32,
    pub(super) count: test::Count,
    pub(super) took: Duration,
}

impl Verdict {
    /// Whether it ended well and tested something.
    pub(super) fn is_good(&self) -> bool {
        self.status == 0 && self.count.failed == 0 && self.count.passed > 0
    }
}

/// Whether there is something to boot with.
pub(super) fn check() -> anyhow::Result<()> {
    ensure!(
        shell::runs(QEMU, &["--version"]),
        "{QEMU} is missing: install it (Debian: apt-get install --no-install-recommends \
         qemu-system-x86)"
    );
    Ok(())
}

/// Boots a kernel with these files, prints what its run says, and returns how it ended. Longer than `limit`, and a
/// while for the boot, it does not take.
pub(super) fn boot(
    vmlinuz: &Path,
    files: &Files<'_>,
    console: &Path,
    limit: Duration,
) -> anyhow::Result<Verdict> {
    let accelerator = if is_accelerated() { "kvm" } else { "tcg,thread=multi" };
    let (image, words) = match files {
        Files::Memory(image) => (image, KERNEL.to_owned()),
        Files::Disk(image) => (image, format!("{KERNEL} {DISK}")),
    };
    println!("vm: {accelerator}, {} MB of files", fs::metadata(image)?.len() / 1_000_000);
    // The fewer features an emulated CPU has, the less is emulated.
    let cpu = if is_accelerated() { "host" } else { "Nehalem" };
    // However this process ends, the machine ends with it.
    let mut qemu = shell::command("setpriv", &["--pdeathsig", "KILL", QEMU, "-nodefaults"]);
    qemu.args(["-no-user-config", "-no-reboot"])
        .args(["-machine", "q35", "-accel", accelerator, "-cpu", cpu, "-smp", "2", "-m", "2048"])
        .args(["-display", "none", "-nic", "none", "-append", &words])
        .arg("-kernel")
        .arg(vmlinuz);
    match files {
        Files::Memory(image) => qemu.arg("-initrd").arg(image),
        // Nobody needs what is on it once the machine is gone.
        Files::Disk(image) => qemu
            .arg("-drive")
            .arg(format!("file={},format=raw,if=none,id=root,cache=unsafe", image.display()))
            .args(["-device", "nvme,drive=root,serial=root"]),
    };
    qemu.arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-chardev", "stdio,id=run,signal=off", "-serial", "chardev:run"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut qemu = Running::start(&mut qemu)?;
    let output = qemu.0.stdout.take().context("the output is piped")?;
    let verdict = listen(&lines(output), limit + BOOT);
    drop(qemu);
    verdict.with_context(|| {
        let console = fs::read(console).unwrap_or_default();
        format!("{}\nof the console", last_lines(&String::from_utf8_lossy(&console)))
    })
}

/// Whether the processor runs the guest. That `/dev/kvm` is there is not enough: some of those that
/// clouds hand out run only kernels made for them.
fn is_accelerated() -> bool {
    let module = |name: &str| Path::new("/sys/module").join(name).is_dir();
    let device = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm");
    device.is_ok() && (module("kvm_intel") || module("kvm_amd"))
}

/// Prints the run's lines up to its status.
#[expect(clippy::disallowed_methods, reason = "bounds a run, and tells how long it took")]
pub(super) fn listen(lines: &Receiver<String>, limit: Duration) -> anyhow::Result<Verdict> {
    let start = Instant::now();
    let mut count = test::Count::default();
    loop {
        match lines.recv_timeout(limit.saturating_sub(start.elapsed())) {
            Ok(line) => {
                if let Some(status) = status(&line) {
                    return Ok(Verdict { status, count, took: start.elapsed() });
                }
                println!("{line}");
                if let Some(more) = test::counted(&line) {
                    count.passed += more.passed;
                    count.failed += more.failed;
                }
            }
            Err(RecvTimeoutError::Timeout) => bail!("not done after {} s", limit.as_secs()),
            Err(RecvTimeoutError::Disconnected) => bail!("the machine ended without a status"),
        }
    }
}

/// `vm: status 0`
fn status(line: &str) -> Option<i32> {
    line.strip_prefix("vm: status ")?.trim().parse().ok()
}

/// Lines as they come. The thread ends with the machine.
pub(super) fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            if sender.send(line.trim_end_matches('\r').to_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
}

/// Killed when it is no longer looked after.
pub(super) struct Running(Child);

impl Running {
    pub(super) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let child = command.spawn();
        Ok(Self(child.with_context(|| format!("start {}", shell::told(command)))?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(said: &str) -> anyhow::Result<Verdict> {
        listen(&lines(std::io::Cursor::new(said.to_owned())), Duration::from_secs(10))
    }

    #[test]
    fn a_run_ends_with_its_status() {
        let said = "running 2 tests\r\ntest result: ok. 2 passed; 0 failed; 0 ignored\r\n\
                    vm: status 0\r\n";
        let verdict = heard(said).unwrap();
        assert_eq!(verdict.count, test::Count { passed: 2, failed: 0 });
        assert!(verdict.is_good());
        assert!(!heard("vm: status 0\n").unwrap().is_good(), "nothing was tested");
        let said = "test result: FAILED. 1 passed; 1 failed\nvm: status 101\n";
        assert!(!heard(said).unwrap().is_good());
    }

    #[test]
    fn a_machine_that_dies_says_so() {
        let error = heard("running 2 tests\n").err().unwrap();
        assert!(error.to_string().contains("without a status"), "{error}");
    }

    #[test]
    fn a_machine_that_hangs_is_given_up() {
        let (_sender, receiver) = mpsc::channel();
        let error = listen(&receiver, Duration::from_millis(20)).err().unwrap();
        assert!(error.to_string().contains("not done after"), "{error}");
    }
}
