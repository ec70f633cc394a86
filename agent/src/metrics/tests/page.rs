//! All that is shown at once: as the page about metrics says, and as Prometheus' own linter wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

/// Something of nearly everything.
pub(super) fn busy() -> (Metrics, tempfile::TempDir) {
    let (metrics, dir) = (metrics(), tempfile::tempdir().unwrap());
    let now = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
    let attempt = |model: &str| crate::record::Attempt {
        provider: Arc::from("openai"),
        model: Some(Arc::from(model)),
        started_at: now,
        status: Some(503),
        outcome: Outcome::UpstreamError,
        upstream: Duration::from_secs(1),
        cost: None,
    };
    let attempts = vec![attempt("gpt-4o"), attempt("gpt-4o"), attempt("gpt-4o-mini")];
    let decisions = vec![decision("budgets.b", "pass"), decision("tokens", "count")];
    metrics.call(&Record { attempts, decisions, ..record() });
    metrics.call(&Record { cost: None, ..record() });
    metrics.call(&Record { kind: Kind::Request, ..record() });
    metrics.policies(&standing(1));
    metrics.breakers([("openai", 1, 100)].into_iter());
    metrics.connection(&connection(Treatment::Metered));
    metrics.distrusted("fin");
    metrics.certificates([("api.openai.com", "expired", 1)]);
    metrics.capture(&[("hit", 1)]);
    metrics.namespaces(1, [("port_taken", 1)]);
    metrics.ledger(&Health::default());
    metrics.notice(&Notice {
        at: now,
        topic: Topic::Escalation,
        policy: Arc::from("retry"),
        subject: Arc::from("a"),
        uid: None,
        call_id: None,
        message: String::new(),
        spent: None,
        limit: None,
        class: Some(Arc::from("auth")),
        finding: None,
    });
    metrics.telemetry([("traces", 1, 1, 1)]);
    metrics.watched(&Watched {
        budgets: vec![(Arc::from("exe:a"), Arc::from("chat"), 1.5)],
        sla: vec![(Arc::from("exe:a"), true)],
        spikes: vec![Arc::from("exe:a")],
    });
    metrics.loaded(now);
    metrics.condition(&Condition {
        wanted: 2,
        effective: 1,
        capturing: Some(true),
        in_flight: 1,
        ca_until: Some(now),
    });
    let group = dir.path().join("group");
    std::fs::create_dir(&group).unwrap();
    std::fs::write(group.join("cpu.stat"), "usage_usec 5\n").unwrap();
    std::fs::write(group.join("memory.current"), "5\n").unwrap();
    let groups = vec![(Arc::from("unit:a.service"), group)];
    metrics.host(System.now().mono, || Places { state: dir.path().to_owned(), groups });
    (metrics, dir)
}

/// `| name | type | labels |` of the page about metrics.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.split('|').skip(1).map(str::trim);
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        let kind = cells.next().filter(|it| matches!(*it, "counter" | "gauge" | "histogram"))?;
        let labels = cells.next()?.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Some((name.to_owned(), (kind.to_owned(), labels)))
    });
    rows.collect()
}

/// The names under which the modules beside this one register metrics.
fn registered() -> BTreeSet<String> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/metrics");
    let files = std::fs::read_dir(own).unwrap().map(|entry| entry.unwrap().path());
    let modules = files.filter(|path| path.is_file() && !path.ends_with("tests.rs"));
    let is_name = |text: &&str| {
        let ours = ["llm_", "weir_", "circuit_breaker_", "process_"];
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        ours.iter().any(|prefix| text.len() > prefix.len() && text.starts_with(prefix))
            && text.bytes().all(plain)
    };
    let mut names = BTreeSet::new();
    for module in modules {
        let text = std::fs::read_to_string(module).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        names.extend(code.split('"').skip(1).step_by(2).filter(is_name).map(str::to_owned));
    }
    names
}

#[test]
fn the_page_about_metrics_lists_exactly_those_there_are() {
    let documented = documented();
    let names: BTreeSet<String> = documented.keys().cloned().collect();
    assert_eq!(names, registered(), "docs/metrics.md against the code");
    let (metrics, _dir) = busy();
    let mut seen = 0;
    for family in metrics.registry.gather() {
        let (kind, labels) = &documented[family.name()];
        assert_eq!(*kind, format!("{:?}", family.get_field_type()).to_lowercase());
        for metric in family.get_metric() {
            let found: BTreeSet<_> =
                metric.get_label().iter().map(|it| it.name().to_owned()).collect();
            assert_eq!(found, *labels, "{}", family.name());
        }
        seen += 1;
    }
    assert!(seen > 65, "only {seen} families had anything to show");
}

#[test]
fn promtool_has_nothing_to_say() {
    let (metrics, _dir) = busy();
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match promtool {
        Ok(promtool) => promtool,
        Err(error) if rustix::process::geteuid().is_root() => {
            panic!("promtool (Debian package prometheus): {error}");
        }
        Err(_) => {
            eprintln!("SKIPPED: promtool is not installed (Debian package prometheus)");
            return;
        }
    };
    promtool.stdin.take().unwrap().write_all(metrics.render().as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    let said = [said.stdout, said.stderr].concat();
    assert_eq!(String::from_utf8_lossy(&said), "");
}
