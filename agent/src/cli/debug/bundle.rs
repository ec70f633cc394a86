//! `weir debug bundle`: what a report needs, in one file. Nothing in it is a secret by its making, and
//! what looks like one is taken out all the same.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::archive::Archive;
use super::scrub::scrubbed;
use crate::cli::client::Client;
use crate::cli::text::clean;
use crate::cli::{Ctx, Exit};
use crate::config;

/// What the agent is asked for.
const ASKED: [(&str, &str); 10] = [
    ("status.json", "/api/status"),
    ("processes.json", "/api/processes"),
    ("policies.json", "/api/policies"),
    ("usage.json", "/api/usage"),
    ("budgets.json", "/api/budgets"),
    ("breakers.json", "/api/breakers"),
    ("unknown-prices.json", "/api/prices/unknown"),
    ("log.json", "/api/log"),
    ("bypass.json", "/api/bypass"),
    ("mode.json", "/api/mode"),
];
/// Other programs of the host, with what each is asked.
const PROGRAMS: [(&str, &[&str]); 4] = [
    ("uname.txt", &["uname", "-a"]),
    ("unit.txt", &["systemctl", "show", "weir.service", "--no-pager"]),
    (
        "journal.txt",
        &[
            "journalctl",
            "-t",
            "weir",
            "-t",
            "weir-helper",
            "-t",
            "weir-keeper",
            "-n",
            "2000",
            "--no-pager",
            "-o",
            "short-iso",
        ],
    ),
    ("os-release.txt", &["cat", "/etc/os-release"]),
];
/// Files of the kernel's that say what it offers.
const FILES: [(&str, &str); 3] = [
    ("mountinfo.txt", "/proc/self/mountinfo"),
    ("capabilities.txt", "/proc/self/status"),
    ("resolv.conf", "/etc/resolv.conf"),
];
/// As much of one text as is taken.
const LONGEST: usize = 4 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file to write; there must be none yet
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    let name = format!("weir-debug-{}", ctx.now.strftime("%Y%m%d-%H%M%S"));
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.tar.gz")));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let file = file.with_context(|| path.display().to_string())?;
    let mut archive = Archive::new(file, &name, ctx.now.as_second());
    for (name, text) in collect(ctx)? {
        let text = scrubbed(&text[..text.floor_char_boundary(LONGEST)]);
        archive.add(name, text.as_bytes())?;
    }
    archive.finish()?.sync_all()?;
    let mut out = ctx.out();
    writeln!(out, "{}", clean(&path.display().to_string()))?;
    writeln!(
        out,
        "no key and no prompt is in it; names of users and programs are: look through it"
    )?;
    Ok(Exit::Ok)
}

fn collect(ctx: &Ctx) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut texts = vec![("about.txt", about(ctx)), ("config.yaml", settings(ctx))];
    texts.push(("doctor.txt", own(ctx, &["doctor"])));
    texts.push(("trust.txt", own(ctx, &["trust", "status"])));
    texts.push(("state.txt", listing(&ctx.paths.state)));
    let asked = ctx.block_on(async {
        let mut client = match Client::connect(ctx).await {
            Ok(client) => client,
            Err(error) => return Ok(vec![("agent.txt", format!("{error:#}\n"))]),
        };
        let mut texts = Vec::new();
        for (name, path) in ASKED {
            let answer: anyhow::Result<serde_json::Value> = client.get(path, &()).await;
            texts.push((
                name,
                match answer {
                    Ok(answer) => format!("{answer:#}\n"),
                    Err(error) => format!("{error:#}\n"),
                },
            ));
        }
        let metrics = client.text("/metrics").await.unwrap_or_else(|error| format!("{error:#}\n"));
        texts.push(("metrics.txt", metrics));
        Ok(texts)
    })?;
    texts.extend(asked);
    texts.extend(PROGRAMS.map(|(name, words)| (name, said(words))));
    texts.extend(FILES.map(|(name, path)| (name, read(path))));
    Ok(texts)
}

fn about(ctx: &Ctx) -> String {
    format!(
        "weir {}\nmade {}\nby user id {}\nconfiguration {}\nstate {}\nsocket {}\n",
        env!("CARGO_PKG_VERSION"),
        ctx.now,
        rustix::process::geteuid().as_raw(),
        ctx.paths.config.display(),
        ctx.paths.state.display(),
        ctx.paths.socket().display(),
    )
}

/// Every key with its origin, secrets left out; or what is wrong with the file.
fn settings(ctx: &Ctx) -> String {
    match config::effective(&ctx.paths) {
        Ok(effective) => effective.yaml(),
        Err(problems) => format!("{problems}\n"),
    }
}

/// What another command of ours prints.
fn own(ctx: &Ctx, words: &[&str]) -> String {
    let mut command = Command::new("/proc/self/exe");
    // One that is named has to be there.
    if ctx.paths.config.exists() {
        command.arg("--config").arg(&ctx.paths.config);
    }
    command.arg("--state-dir").arg(&ctx.paths.state).arg("--run-dir").arg(&ctx.paths.run);
    ran(command.args(words))
}

fn said(words: &[&str]) -> String {
    let [program, arguments @ ..] = words else { return String::new() };
    ran(Command::new("timeout").args(["20", program]).args(arguments))
}

fn ran(command: &mut Command) -> String {
    match command.stdin(Stdio::null()).output() {
        Ok(output) => {
            let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.push_str(&String::from_utf8_lossy(&output.stderr));
            text
        }
        Err(error) => format!("{error}\n"),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| format!("{error}\n"))
}

/// Names, sizes, modes and owners; never what is in the files.
fn listing(directory: &Path) -> String {
    let mut text = String::new();
    let mut waiting = vec![directory.to_owned()];
    let mut seen = 0;
    while let Some(directory) = waiting.pop() {
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        for entry in entries {
            seen += 1;
            let Ok(meta) = fs::symlink_metadata(entry.path()) else { continue };
            let (mode, uid, gid) = (meta.mode(), meta.uid(), meta.gid());
            let (length, path) = (meta.len(), entry.path());
            // Writing to a string cannot fail.
            let _infallible =
                writeln!(text, "{mode:o} {uid}:{gid} {length:>12} {}", path.display());
            if meta.is_dir() && seen < 10_000 {
                waiting.push(path);
            }
        }
    }
    text
}
