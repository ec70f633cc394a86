//! The demo's programs: small, real, and as different as callers are. None of them knows of Weir.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::stage::Cgroup;

/// A program that is cut short in mid-call may need this long to say goodbye.
const PATIENCE: Duration = Duration::from_secs(4);

/// A program: what runs it, and its text.
struct Script {
    file: &'static str,
    interpreter: &'static str,
    text: &'static str,
    purpose: &'static str,
}

const SCRIPTS: [Script; 5] = [
    Script {
        file: "ticker.sh",
        interpreter: "sh",
        text: include_str!("ticker.sh"),
        purpose: "a shell loop around curl",
    },
    Script {
        file: "summarise.py",
        interpreter: "python3",
        text: include_str!("summarise.py"),
        purpose: "Python, Claude with a cached prompt",
    },
    Script {
        file: "chat.py",
        interpreter: "python3",
        text: include_str!("chat.py"),
        purpose: "Python, streaming",
    },
    Script {
        file: "impatient.py",
        interpreter: "python3",
        text: include_str!("impatient.py"),
        purpose: "Python, hangs up in the middle of each answer",
    },
    Script {
        file: "agent.mjs",
        interpreter: "node",
        text: include_str!("agent.mjs"),
        purpose: "Node, the Responses API, pays for hidden reasoning",
    },
];

/// Where and how the programs run.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    /// The captured cgroup, if there is one.
    pub(super) cgroup: Option<&'a Cgroup>,
    /// Where their files go.
    pub(super) directory: &'a Path,
    /// How long each goes on asking.
    pub(super) length: Duration,
    /// What they find in their environment beside keys.
    pub(super) environment: Vec<(&'static str, OsString)>,
}

/// The running programs. Dropped, they are killed.
#[derive(Debug)]
pub(super) struct Workloads {
    running: Vec<(&'static str, Child)>,
    /// What was started and what was not, for the reader.
    pub(super) listing: Vec<String>,
    /// Goes after the programs that run in it.
    _cgroup: Option<Cgroup>,
}

impl Workloads {
    /// Starts every program whose interpreter is installed.
    pub(super) fn start(setting: &Setting<'_>) -> io::Result<Self> {
        let apart = setting.cgroup.map(|cgroup| cgroup.child("ticker")).transpose()?;
        let mut running = Vec::new();
        let mut listing = Vec::new();
        for script in &SCRIPTS {
            let Some(interpreter) = installed(script.interpreter) else {
                listing.push(format!("{:<13} left out: no {}", script.file, script.interpreter));
                continue;
            };
            let own = apart.as_ref().filter(|_| script.file == "ticker.sh");
            let cgroup = own.or(setting.cgroup);
            let file = setting.directory.join(script.file);
            fs::write(&file, script.text)?;
            running.push((script.file, spawn(&interpreter, &file, cgroup, setting)?));
            let place = own.map_or("", |_| ", in a cgroup of its own");
            listing.push(format!("{:<13} {}{place}", script.file, script.purpose));
        }
        Ok(Self { running, listing, _cgroup: apart })
    }

    /// Waits for those that end by themselves, and ends the others. Returns complaints.
    pub(super) async fn end(mut self) -> Vec<String> {
        let mut complaints = Vec::new();
        for (name, child) in &mut self.running {
            match timeout(PATIENCE, child.wait()).await {
                Ok(Ok(status)) if status.success() => {}
                Ok(Ok(status)) => complaints.push(format!("{name} ended with {status}")),
                Ok(Err(error)) => complaints.push(format!("{name}: {error}")),
                Err(_late) => complaints.push(format!("{name} did not end by itself")),
            }
        }
        complaints
    }
}

impl Drop for Workloads {
    fn drop(&mut self) {
        for (_, child) in &self.running {
            // Each leads a group of its own: a shell's curl goes with it.
            let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
            if let Some(leader) = id {
                kill_process_group(leader, Signal::KILL).ok();
            }
        }
    }
}

fn spawn(
    interpreter: &Path,
    file: &Path,
    cgroup: Option<&Cgroup>,
    setting: &Setting<'_>,
) -> io::Result<Child> {
    let command = match cgroup {
        Some(cgroup) => cgroup.command(interpreter),
        None => std::process::Command::new(interpreter),
    };
    let mut command = Command::from(command);
    let errors = fs::File::create(file.with_extension("log"))?;
    command
        .arg(file)
        .arg(setting.length.as_secs().to_string())
        .env_clear()
        .env("PATH", SEARCH.join(":"))
        .env("LANG", "C.UTF-8")
        .env("OPENAI_API_KEY", "sk-demo-openai")
        .env("ANTHROPIC_API_KEY", "sk-demo-anthropic")
        .envs(setting.environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

const SEARCH: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// The interpreter's file. Version managers' shims are not looked for: they need a home.
fn installed(program: &str) -> Option<PathBuf> {
    SEARCH.iter().map(|directory| Path::new(directory).join(program)).find(|path| path.is_file())
}
