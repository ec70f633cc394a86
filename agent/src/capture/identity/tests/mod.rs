//! Real processes, resolved as the agent does it.

mod alive;
mod gone;
mod placed;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::*;
use crate::clock::since_boot;

/// A process that has said it is ready; killed on drop.
struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
    said: String,
}

impl Running {
    fn start(program: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut running = Self { child, output, said: String::new() };
        running.listen();
        running
    }

    fn listen(&mut self) {
        self.said.clear();
        self.output.read_line(&mut self.said).unwrap();
        assert!(self.said.ends_with('\n'), "ended early");
    }

    /// Lets it go on to what it does next, and waits until that is ready.
    fn go_on(&mut self) {
        writeln!(self.child.stdin.as_mut().unwrap()).unwrap();
        self.listen();
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn caller(&self) -> Caller {
        caller(self.pid())
    }

    /// The pid it has told.
    fn told(&self) -> u32 {
        self.said.trim().parse().unwrap()
    }

    /// Lets it end in its own way.
    fn finish(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }

    fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Scripts in a directory of their own.
struct Scripts(tempfile::TempDir);

impl Scripts {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

const WAIT: &str = "import sys\nprint('ready', flush=True)\nsys.stdin.readline()\n";

fn caller(pid: u32) -> Caller {
    Caller {
        tgid: pid,
        uid: rustix::process::getuid().as_raw(),
        gid: 0,
        cgroup: 1,
        netns: 1,
        comm: "worker".to_owned(),
        at: since_boot(),
    }
}

/// Tests may themselves run below a coding agent, so only these applications are known here.
fn identities(apps: &[&str]) -> Identities {
    let mut identities = Identities::new(Helper::in_process(), [""; 0]);
    identities.apps = Apps::only(apps.iter().copied());
    identities
}

/// The part of the workload's name that does not depend on where the tests run.
fn named(subject: &Subject, expected: &str) {
    let workload = &subject.workload;
    let placed = workload.pod.is_some() || workload.container.is_some() || workload.unit.is_some();
    if !placed {
        assert_eq!(&*workload.name, expected);
    }
}
