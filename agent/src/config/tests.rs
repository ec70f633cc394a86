//! The configuration as users write it, and every way to write it wrong.

mod alerts;
mod limits;
mod design;
mod packaged;
mod reliability;
mod webhooks;
mod watching;

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::llm::usage::NanoUsd;
use crate::policy::containers::{Containers, Reach};
use crate::policy::selector::{Pattern, Selector};

/// A configuration directory; problems are reported with `W/` for its path.
struct Dir(tempfile::TempDir);

impl Dir {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(dir)
    }

    fn paths(&self) -> Paths {
        let config = Some(self.0.path().join("weir.yaml"));
        Paths::find(Overrides { config, ..Overrides::default() })
    }

    fn load(&self) -> Config {
        load(&self.paths()).unwrap()
    }

    fn problems(&self) -> Vec<String> {
        let dir = self.0.path().display().to_string();
        let problems = load(&self.paths()).unwrap_err();
        problems.to_string().lines().map(|line| line.replace(&dir, "W")).collect()
    }
}

fn problems(text: &str) -> Vec<String> {
    Dir::new(&[("weir.yaml", text)]).problems()
}

fn config(text: &str) -> Config {
    Dir::new(&[("weir.yaml", text)]).load()
}

#[test]
fn an_empty_file_has_the_defaults() {
    let config = config("# nothing\n");
    assert_eq!(config.mode, Mode::Observe);
    assert_eq!(&*config.environment, "default");
    assert_eq!(config.listen.proxy, Some(SocketAddr::from(([127, 0, 0, 1], 4180))));
    assert_eq!(config.listen.admin, Some(SocketAddr::from(([127, 0, 0, 1], 4181))));
    assert_eq!(config.capture.enabled, Toggle::Auto);
    assert_eq!(config.capture.ports.iter().map(|port| port.get()).collect::<Vec<_>>(), [443]);
    assert_eq!(config.limits.request_body.get(), 64 << 20);
    assert_eq!(config.ledger.sync, Fsync::EverySecond);
    assert_eq!(config.ledger.retention, Duration::from_hours(90 * 24));
    assert!(config.metrics.per_user);
    assert_eq!(config.metrics.series_ttl, Duration::from_hours(24));
}

#[test]
fn every_section_is_read() {
    let dir = Dir::new(&[
        ("ca.pem", ""),
        (
            "weir.yaml",
            r#"
mode: meter
environment: prod
listen: {proxy: "127.0.0.1:0", admin: off}
capture:
  enabled: true
  cgroup: /sys/fs/cgroup/demo
  ports: [443, 8443]
  cidrs: [192.0.2.7/24, "2001:db8::1"]
  all: [unit:batch, "container:web", "user:1000"]
  refuse_quic: false
trust: {assume: true}
on_untrusted: block
limits: {connections: 2_000, request_body: 1MiB, connect_timeout: 500ms}
providers:
  openai: {ca_file: ca.pem, hosts: [API.openai.test.], inject_usage: false}
  local:
    format: openai
    base_url: http://127.0.0.1:11434/v1
    free: true
    prices:
      tiny: {input: 0.10, output: 1}
prices:
  openai/gpt-x:
    - {input: 2, output: 8, from: 2026-12-01}
    - {input: 1.25, cache_read: 0.125, output: 10}
ledger: {sync: always, retention: 30d}
metrics: {per_user: false}
apps: [my-agent]
log: {level: debug, format: json}
"#,
        ),
    ]);
    let config = dir.load();
    assert_eq!(config.mode, Mode::Meter);
    assert_eq!(config.listen.admin, None);
    assert_eq!(config.capture.enabled, Toggle::On);
    let proxied = self::config(
        "capture: {ports: [443, 8443], proxies: [\"proxy.corp:3128\", \"192.0.2.9:8443\"]}",
    );
    let ports: Vec<u16> = proxied.capture.all_ports().iter().map(|port| port.get()).collect();
    assert_eq!(ports, [443, 8443, 3128]);
    let cidrs: Vec<String> = config.capture.cidrs.iter().map(ToString::to_string).collect();
    assert_eq!(cidrs, ["192.0.2.0/24", "2001:db8::1/128"]);
    let all: Vec<String> = config.capture.all.iter().map(ToString::to_string).collect();
    assert_eq!(all, ["unit:batch.service", "container:web", "user:1000"]);
    assert!(!config.capture.refuse_quic);
    assert_eq!(config.limits.connections.get(), 2000);
    assert_eq!(config.limits.connect_timeout, Duration::from_millis(500));
    let [local, openai] = &config.providers[..] else { panic!("two providers") };
    assert_eq!((&*local.name, local.format, local.free), ("local", Format::OpenAi, true));
    assert_eq!(local.base_url.as_ref().unwrap().port_u16(), Some(11434));
    assert_eq!(openai.hosts, [Host::Name("api.openai.test".into())]);
    assert_eq!(openai.ca_file, Some(dir.0.path().join("ca.pem")));
    assert_eq!(openai.inject_usage, Some(false));
    let prices: Vec<_> = config
        .prices
        .iter()
        .map(|price| (&*price.model, price.from.map(|day| day.to_string()), price.rates.input))
        .collect();
    assert_eq!(
        prices,
        [
            ("tiny", None, NanoUsd(100_000_000)),
            ("gpt-x", None, NanoUsd(1_250_000_000)),
            ("gpt-x", Some("2026-12-01".to_owned()), NanoUsd(2_000_000_000)),
        ]
    );
    assert_eq!(config.prices[1].rates.cache_read, NanoUsd(125_000_000));
    assert_eq!(config.prices[1].rates.reasoning, NanoUsd(10_000_000_000));
    assert_eq!(config.ledger.sync, Fsync::Always);
    assert_eq!(&*config.apps[0], "my-agent");
    assert_eq!(config.log.level, Level::Debug);
}

#[test]
fn all_problems_are_reported_at_once_with_their_places() {
    let found = problems(
        r#"mode: meeter
listen:
  proxy: localhost:4180
  admni: off
capture:
  ports: [443, 0, https, 443]
  enabled: yes
providers:
  openai:
    hosts:
      - api.openai.com
      - "*.openai.com"
      - https://api.openai.com
      - api.openai.com
    format: opneai
  mine: {}
limits: {request_body: 64 megs, connections: 0}
prices:
  gpt-x: {input: 1}
  openai/gpt-y: {input: -1, outptu: 2}
budgts: {}
"#,
    );
    let expected = [
        "W/weir.yaml:1:7: mode: `meeter` is not one of off, observe, meter, enforce \
         (did you mean `meter`?)",
        "W/weir.yaml:3:10: listen.proxy: `localhost:4180` is not an address: write IP:PORT \
         (`127.0.0.1:4180`) or `off`",
        "W/weir.yaml:4:3: listen.admni: this key is not known to weir 0.1.0 \
         (did you mean `admin`?)",
        "W/weir.yaml:6:16: capture.ports[1]: 0 is not a port",
        "W/weir.yaml:6:19: capture.ports[2]: expected a whole number up to 65535, found \
         `https`",
        "W/weir.yaml:6:26: capture.ports[3]: port 443 is given twice",
        "W/weir.yaml:7:12: capture.enabled: `yes` is not one of auto, true, false",
        "W/weir.yaml:12:9: providers.openai.hosts[1]: `*.openai.com`: a pattern has no address \
         to look up; list each host",
        "W/weir.yaml:13:9: providers.openai.hosts[2]: `https://api.openai.com` is a URL; write \
         the host alone, the URL goes to `base_url`",
        "W/weir.yaml:14:9: providers.openai.hosts[3]: `api.openai.com` is already \
         providers.openai.hosts[0]",
        "W/weir.yaml:15:13: providers.openai.format: `opneai` is not one of openai, anthropic, \
         gemini (did you mean `openai`?)",
        "W/weir.yaml:16:9: providers.mine: needs `hosts` or `base_url`",
        "W/weir.yaml:16:9: providers.mine: needs `format` (openai, anthropic, gemini)",
        "W/weir.yaml:17:24: limits.request_body: `64 megs` is not a size: write bytes, or a \
         number with KiB, MiB or GiB (`64MiB`)",
        "W/weir.yaml:17:46: limits.connections: must be at least 1",
        "W/weir.yaml:19:10: prices.gpt-x: the key must be PROVIDER/MODEL",
        "W/weir.yaml:20:25: prices.openai/gpt-y.input: `-1` is not a price: write dollars as a \
         decimal number of at most 9 places (`1.25`)",
        "W/weir.yaml:20:29: prices.openai/gpt-y.outptu: this key is not known to weir 0.1.0 \
         (did you mean `output`?)",
        "W/weir.yaml:21:1: budgts: this key is not known to weir 0.1.0 (did you mean `budgets`?)",
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn containers_are_told_in_a_word_or_by_name() {
    assert_eq!(config("# nothing\n").containers, Containers::default());
    assert_eq!(config("containers: meter").containers.default, Reach::Meter);
    let text = "containers: {default: off, observe: [batch], meter: ['container:web*', '*'], \
                dial: {host: ['pod:prod/web']}}";
    let containers = config(text).containers;
    assert_eq!(containers.default, Reach::Off);
    let container = vec![Pattern::new("web*")];
    let web = Selector { container, ..Selector::default() };
    assert_eq!(containers.meter, [web, Selector::default()]);
    assert_eq!(containers.observe[0].workload, [Pattern::new("batch")]);
    assert_eq!(containers.dial_from_host[0].workload, [Pattern::new("pod:prod/web")]);
    assert!(containers.off.is_empty());
}

#[test]
fn single_faults_are_named() {
    let cases = [
        ("listen: {proxy: 0.0.0.0:4180}", "1:17: listen.proxy: must be a loopback address"),
        ("capture: {cgroup: demo}", "1:19: capture.cgroup: must be an absolute path"),
        (
            "capture: {all: [exe:python]}",
            "1:17: capture.all[0]: `exe:python` cannot be told apart by the kernel",
        ),
        (
            "capture: {all: [unit:a, unit:a.service]}",
            "1:25: capture.all[1]: `unit:a.service` is given twice",
        ),
        ("capture: {ports: []}", "1:18: capture.ports: needs at least one port"),
        (
            "capture: {ports: [70000]}",
            "1:19: capture.ports[0]: expected a whole number up to 65535, found `70000`",
        ),
        ("capture: {cidrs: [0.0.0.0/0]}", "1:19: capture.cidrs[0]: `0.0.0.0/0` is every address"),
        (
            "capture: {proxies: [proxy.corp]}",
            "1:21: capture.proxies[0]: `proxy.corp` is not a proxy",
        ),
        (
            "capture: {proxies: [\"127.0.0.1:3128\"]}",
            "1:21: capture.proxies[0]: connections within",
        ),
        (
            "capture: {proxies: [\"a.b:1\", \"a.b:1\"]}",
            "1:30: capture.proxies[1]: `a.b:1` is given twice",
        ),
        (
            "capture: {ports: [1, 2, 3, 4, 5, 6, 7, 8], proxies: [\"a.b:9\"]}",
            "1:53: capture.proxies: with `ports` these are more",
        ),
        ("capture: {cidrs: [example.com]}", "1:19: capture.cidrs[0]: `example.com` is not a net"),
        ("containers: metre", "1:13: containers: `metre` is not one of off, observe, meter"),
        ("containers: {default: [a]}", "1:23: containers.default: expected one of off, obs"),
        ("containers: {metre: [a]}", "1:14: containers.metre: this key is not known"),
        ("containers: {meter: ['contaner:a']}", "1:22: containers.meter[0]: `contaner:` sel"),
        ("containers: {dial: {host: ['container:']}}", "1:28: containers.dial.host[0]: needs"),
        ("trust: {assume: yes}", "1:17: trust.assume: expected true or false, found `yes`"),
        ("mode: [off]", "1:7: mode: expected one of off, observe, meter, enforce, found a list"),
        ("mode:", "1:5: mode: expected one of off, observe, meter, enforce, found nothing"),
        ("- mode", "1:1: expected a map of keys, found a list"),
        ("environment: a b", "1:14: environment: must be a name"),
        ("unknown_price: dney", "1:16: unknown_price: `dney` is not one of allow-and-flag, deny"),
        ("ledger: {sync: 5s}", "1:16: ledger.sync: `5s` is not one of 1s, always"),
        ("ledger: {retention: 90}", "1:21: ledger.retention: `90` is not a duration"),
        ("metrics: {token_file: nope}", "1:23: metrics.token_file: there is no file W/nope"),
        ("metrics: {series_ttl: 0s}", "1:23: metrics.series_ttl: must be longer than 0s"),
        ("apps: ['']", "1:8: apps[0]: must be a name"),
        ("providers: {Open AI: {format: openai, hosts: [a]}}", "1:22: providers.Open AI: a prov"),
        ("providers: {x: {format: openai, hosts: [a..b]}}", "1:41: providers.x.hosts[0]: `a..b`"),
        ("providers: {x: {format: openai, base_url: a}}", "1:43: providers.x.base_url: `a` is"),
        ("providers: {openai: {prices: {m: {output: 1}}}}", "1:34: providers.openai.prices.m: nee"),
        ("prices: {a/b: [{input: 1}, {input: 2}]}", "1:28: prices.a/b[1]: two price lists"),
        ("providers: {x: {format: a, hosts: [b]}}", "1:25: providers.x.format: `a` is not one"),
        ("prices: {a/b: {input: x}}", "1:23: prices.a/b.input: `x` is not a price"),
    ];
    for (text, expected) in cases {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        let expected = format!("W/weir.yaml:{expected}");
        assert!(found[0].starts_with(&expected), "{text}\n  {}\n  {expected}", found[0]);
    }
}

#[test]
fn drop_ins_are_merged_in_lexical_order() {
    let dir = Dir::new(&[
        ("weir.yaml", "mode: observe\ncapture: {ports: [443], cidrs: [192.0.2.0/24]}\n"),
        ("conf.d/20-b.yaml", "mode: meter\ncapture: {ports: [8443, 9443]}\n"),
        ("conf.d/10-a.yaml", "mode: off\nenvironment: dev\n"),
        ("conf.d/notes.txt", "not yaml: ["),
        ("conf.d/.hidden.yaml", "not yaml: ["),
    ]);
    let config = dir.load();
    assert_eq!(config.mode, Mode::Meter);
    assert_eq!(&*config.environment, "dev");
    assert_eq!(config.capture.ports.len(), 2);
    assert_eq!(config.capture.cidrs.len(), 1);
}

#[test]
fn problems_of_drop_ins_name_their_file() {
    let dir = Dir::new(&[
        ("weir.yaml", "mode: meter\nlog: {level: loud}\n"),
        ("conf.d/10-a.yaml", "listen: {\n"),
        ("conf.d/20-b.yaml", "\nmood: meter\n"),
    ]);
    let found = dir.problems();
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].starts_with("W/weir.yaml:2:14: log.level: `loud` is not one of"));
    assert!(found[1].starts_with("W/conf.d/10-a.yaml:1:9: not valid YAML"), "{}", found[1]);
    assert_eq!(
        found[2],
        "W/conf.d/20-b.yaml:2:1: mood: this key is not known to weir 0.1.0 (did you mean `mode`?)"
    );
}

#[test]
fn a_named_file_must_exist() {
    let found = Dir::new(&[]).problems();
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("W/weir.yaml: cannot be read: "), "{}", found[0]);
}

#[test]
fn what_is_shown_can_be_read_again() {
    let dir = Dir::new(&[
        ("weir.yaml", "mode: off\nprices: {openai/x: {input: 0.5}}\nproviders: {openai: {}}\n"),
        ("conf.d/a.yaml", "limits: {request_body: 2KiB}\n"),
    ]);
    let effective = effective(&dir.paths()).unwrap();
    let shown = effective.yaml();
    let line = |start: &str| shown.lines().find(|line| line.trim().starts_with(start)).unwrap();
    assert!(line("mode:").starts_with("mode: off  # "), "{shown}");
    assert!(line("mode:").ends_with("/weir.yaml:1"), "{shown}");
    assert!(line("request_body:").starts_with("  request_body: 2KiB  # "), "{shown}");
    assert!(line("request_body:").ends_with("/conf.d/a.yaml:1"), "{shown}");
    assert_eq!(line("retention:"), "  retention: 90d  # default");
    assert_eq!(config(&shown), effective.config);
}

#[test]
fn the_schema_knows_every_key() {
    let schema = schema();
    let shown = effective(&Dir::new(&[("weir.yaml", "")]).paths()).unwrap();
    for key in shown.json().as_object().unwrap().keys() {
        let property = &schema["properties"][key];
        assert!(property.is_object(), "{key}");
    }
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["title"], "Weir configuration");
    assert_eq!(schema["properties"]["mode"]["default"], "observe");
}

#[test]
fn an_environment_lays_its_own_file_over_everything() {
    let dir = Dir::new(&[
        ("weir.yaml", "environment: dev\nmode: meter\napps: [one]\n"),
        ("conf.d/10.yaml", "environment: prod\nlimits: {connections: 5}\n"),
        ("environments/prod.yaml", "mode: enforce\nlimits: {connections: 7}\n"),
        ("environments/dev.yaml", "mode: off\n"),
    ]);
    let config = dir.load();
    assert_eq!((config.mode, config.limits.connections.get()), (Mode::Enforce, 7));
    assert_eq!((&*config.environment, config.apps.len()), ("prod", 1));
    assert_eq!(effective(&dir.paths()).unwrap().files.len(), 3);

    // Another environment has no file, and needs none; a name is no path.
    assert_eq!(self::config("environment: stage\n").mode, Mode::Observe);
    assert_eq!(self::config("environment: ../x\n").mode, Mode::Observe);

    let dir = Dir::new(&[
        ("weir.yaml", "environment: prod\n"),
        ("environments/prod.yaml", "environment: dev\n"),
    ]);
    let expected = "W/environments/prod.yaml:1:14: environment: this file is for `prod` and may \
        not leave it";
    assert_eq!(dir.problems(), [expected]);
}
