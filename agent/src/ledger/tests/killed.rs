//! Processes that are killed, and disks that are full: what was confirmed is there.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::super::*;
use crate::clock::System;
use crate::record::{CallId, Durability, Outcome};

use super::{noon, open, settle};

/// Names the state directory to the copies of this program that the tests below start.
const STATE: &str = "WEIR_TEST_STATE";

#[expect(clippy::disallowed_methods, reason = "how a test tells its child what to do")]
fn state_from_parent() -> Option<PathBuf> {
    std::env::var_os(STATE).map(Into::into)
}

fn child(test: &str) -> Vec<String> {
    let program = std::env::current_exe().unwrap();
    let program = program.to_str().unwrap().to_owned();
    vec![program, format!("ledger::tests::killed::{test}"), "--exact".into(), "--nocapture".into()]
}

#[test]
fn what_was_confirmed_survives_kill_9_under_load() {
    if let Some(state) = state_from_parent() {
        confirm_until_killed(&state);
    }
    let dir = TempDir::new().unwrap();
    for round in 0..3 {
        let command = child("what_was_confirmed_survives_kill_9_under_load");
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .env(STATE, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut confirmed = BTreeSet::new();
        let mut note = |line: String| {
            if let Some(id) = line.strip_prefix("kept ") {
                assert!(confirmed.insert(id.parse::<CallId>().unwrap()), "confirmed twice");
            }
            confirmed.len()
        };
        while note(lines.next().unwrap().unwrap()) < 3_000 + 1_111 * round {}
        child.kill().unwrap();
        // What it said before it died counts too; its last line may be cut short.
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        for line in rest.into_iter().filter(|it| it.len() == "kept ".len() + ulid::ULID_LEN) {
            note(line);
        }
        child.wait().unwrap();

        let ledger = open(dir.path());
        let calls = ledger.reader().calls(&CallQuery::default()).unwrap();
        let kept: BTreeSet<_> = calls
            .iter()
            .filter(|it| it.outcome == Some(Outcome::Ok))
            .map(|it| it.call_id)
            .collect();
        let missing: Vec<_> = confirmed.difference(&kept).collect();
        assert!(missing.is_empty(), "{} of {} missing", missing.len(), confirmed.len());
        let ids: BTreeSet<_> = calls.iter().map(|it| it.call_id).collect();
        assert_eq!(ids.len(), calls.len(), "no call twice");
        assert!(calls.iter().all(|it| it.outcome.is_some()), "no call left open");
        assert_eq!(ledger.health().corrupt_lines, 0);
    }
}

fn confirm_until_killed(state: &Path) -> ! {
    let ledger = open(state);
    let base = System.now().wall;
    thread::scope(|scope| {
        for worker in 0..4_u64 {
            let ledger = &ledger;
            scope.spawn(move || {
                for n in 0_u64.. {
                    let n = n * 4 + worker;
                    Sink::open(ledger, sample::opened(n, base));
                    if settle(ledger, sample::record(n, base)) == Durability::Kept {
                        let line = format!("kept {}\n", sample::id(n, base));
                        io::stdout().write_all(line.as_bytes()).unwrap();
                    }
                }
            });
        }
    });
    unreachable!("the workers never end")
}

#[test]
fn a_full_disk_loses_nothing_that_fits_the_backlog() {
    if let Some(state) = state_from_parent() {
        return fill_the_disk(&state);
    }
    let dir = TempDir::new().unwrap();
    let script = "mount -t tmpfs -o size=24m tmpfs \"$WEIR_TEST_STATE\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(["sh", "-c", script, "sh"])
        .args(child("a_full_disk_loses_nothing_that_fits_the_backlog"))
        .env(STATE, dir.path())
        .stdout(Stdio::piped());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() && !said.contains("running 1 test") {
        eprintln!("SKIPPED: no mount namespace here: {}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    assert!(said.contains("running 1 test"), "the child ran the scenario: {said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn fill_the_disk(state: &Path) {
    let ledger = open(state);
    let reader = ledger.reader();
    assert_eq!(settle(&ledger, sample::record(0, noon())), Durability::Kept);
    assert!(ledger.flush());

    let ballast = state.join("ballast");
    let mut file = File::create(&ballast).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    while file.write_all(&[0; 1]).is_ok() {}
    drop(file);
    let mut lost = 0;
    for n in 1..=4_000 {
        let before = System.now().mono;
        lost += usize::from(settle(&ledger, sample::record(n, noon())) == Durability::Dropped);
        assert!(before.elapsed() < Duration::from_secs(1), "nobody is held up");
    }
    assert!(lost > 3_900, "{lost}");
    assert!(!ledger.flush());
    let health = ledger.health();
    assert!(health.backlog > 3_900 && health.write_errors > 0, "{health:?}");
    assert_eq!(health.dropped, 0);
    // What was there can still be read.
    assert_eq!(reader.calls(&CallQuery::default()).unwrap().len(), 1);

    fs::remove_file(&ballast).unwrap();
    while !ledger.flush() {
        // The importer waits half a second between attempts.
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(ledger.health().backlog, 0);
    assert_eq!(settle(&ledger, sample::record(5_000, noon())), Durability::Kept);
    assert_eq!(reader.calls(&CallQuery::default()).unwrap().len(), 4_002);
    ledger.close();
    let left = segment::numbers(&state.join("journal")).unwrap();
    assert!(left.is_empty(), "{left:?}");
}
