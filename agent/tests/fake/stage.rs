//! The made-up agent behind a real admin server, and the built command line against it.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use agent::admin::{Admin, Settings};
use agent::drain::Drain;

use super::{Fake, NOBODY};

/// A running admin server over a [`Fake`], and the built command line against it.
pub(crate) struct Stage {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) agent: Arc<Fake>,
    pub(crate) http: std::net::SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
    drain: Drain,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with_token(None)
    }

    pub(crate) fn with_token(token: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Other users reach the socket through it.
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let token_file = token.map(|token| {
            let file = dir.path().join("token");
            std::fs::write(&file, token).unwrap();
            file
        });
        let settings = Settings {
            socket: dir.path().join("run/weir.sock"),
            http: Some(std::net::SocketAddr::from(([127, 0, 0, 1], 0))),
            token_file,
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let drain = Drain::new();
        let agent = Arc::new(Fake::new());
        let served = Arc::clone(&agent);
        let http = {
            let _inside = runtime.enter();
            let admin = Admin::bind(&settings).unwrap();
            let http = admin.addr().unwrap();
            drain.spawn(admin.run(served, drain.clone()));
            http
        };
        Self { dir, agent, http, runtime: Some(runtime), drain }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("run/weir.sock")
    }

    /// `weir ARGS` against this server.
    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(args.split_whitespace()).arg("--run-dir").arg(self.dir.path().join("run"));
        command.env_clear().env("TZ", "UTC").stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &str) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// As the user that is not root, from a copy of the binary that it may run.
    pub(crate) fn run_as_nobody(&self, args: &str) -> Ran {
        let copy = self.dir.path().join("weir");
        if !copy.exists() {
            // By another process: while this one had the copy open, what other tests start at that
            // moment would have it open too, and what is open for writing cannot be run.
            let cp = Command::new("cp").arg(env!("CARGO_BIN_EXE_weir")).arg(&copy).status();
            assert!(cp.unwrap().success());
        }
        let mut command = Command::new(copy);
        command.args(args.split_whitespace()).arg("--run-dir").arg(self.dir.path().join("run"));
        command.env_clear().env("TZ", "UTC").current_dir("/").uid(NOBODY).gid(NOBODY);
        Ran::of(command.output().unwrap())
    }

    /// Stops the server and waits for it; the number of tasks that did not end.
    pub(crate) fn stop(&mut self) -> usize {
        let Some(runtime) = self.runtime.take() else { return 0 };
        runtime.block_on(self.drain.finish(Duration::from_secs(5)))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What was printed, where the command succeeded and the terminal is safe.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, &*self.err), (0, ""), "{}", self.out);
        self.assert_harmless();
        self.out
    }

    #[track_caller]
    pub(crate) fn assert_harmless(&self) {
        let bad = |c: char| {
            c != '\n'
                && (c.is_control()
                    || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'))
        };
        assert!(!self.out.contains(bad) && !self.err.contains(bad), "{self:?}");
    }

    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        let value: serde_json::Value = serde_json::from_str(&self.out).unwrap();
        self.assert_harmless();
        assert_eq!(value["schema_version"], 1, "{value}");
        value
    }
}

/// Every line fits a terminal of 80 columns.
#[track_caller]
pub(crate) fn assert_fits(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
}
