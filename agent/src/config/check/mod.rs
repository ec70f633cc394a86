//! From the file as written to values that cannot be wrong: what spans several keys, or needs more
//! than the word itself.

mod builtin;
mod endpoints;
mod picks;
mod limits;
mod prices;
mod proxies;
mod reliability;
mod alerts;
mod webhooks;
mod watching;
mod containers;
mod later;
mod secrets;
mod tracing;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;

use agent_common::MAX_PORTS;
use ipnet::IpNet;

use self::builtin::builtin;
use crate::config::checked::{
    Capture, Config, Host, Ledger, Limits, Listen, Log, Metrics, PriceOverride, ProviderEntry,
};
use crate::config::problem::{Problem, Step, Trail};
use crate::config::raw::{Format, Raw, RawProvider};
use crate::config::tree::{Node, Value};
use crate::config::value::{Address, Span};

/// Checks what was read from `kept`, which is `tree` without what could not be read. The result
/// counts only where no problem was found.
pub(in crate::config) fn check(
    raw: Raw,
    (tree, kept): (&Node, &Node),
    problems: &mut Vec<Problem>,
) -> Config {
    let mut check = Check { tree, kept, problems, warnings: Vec::new() };
    let root = Trail::default();
    let policy = limits::settings(&mut check, &raw);
    let mut reliability = reliability::settings(&mut check, &raw);
    let alerts = alerts::settings(&mut check, &raw);
    let webhooks = webhooks::settings(&mut check, &raw);
    let watching = watching::settings(&mut check, &raw);
    let containers = containers::containers(&mut check, &raw.containers);
    later::sections(&mut check, &raw);
    let tracing = tracing::settings(&mut check, &raw.tracing, tracing::of_environment);
    let mut prices = Vec::new();
    let providers = check.providers(raw.providers, &mut prices);
    reliability.endpoints = endpoints::members(&providers);
    check.prices(raw.prices, &mut prices);
    let limits = root.key("limits");
    let ledger = root.key("ledger");
    Config {
        mode: raw.mode,
        environment: check.name(&raw.environment, &root.key("environment")),
        user: check.name(&raw.user, &root.key("user")),
        listen: Listen {
            proxy: check.loopback(raw.listen.proxy, &root.key("listen").key("proxy")),
            admin: check.loopback(raw.listen.admin, &root.key("listen").key("admin")),
        },
        capture: Capture {
            enabled: raw.capture.enabled,
            cgroup: raw.capture.cgroup.clone().inspect(|cgroup| {
                let trail = root.key("capture").key("cgroup");
                if !cgroup.is_absolute() {
                    check.problem(&trail, "must be an absolute path".to_owned());
                }
            }),
            ports: check.ports(&raw.capture.ports, &root.key("capture").key("ports")),
            cidrs: check.cidrs(&raw.capture.cidrs, &root.key("capture").key("cidrs")),
            all: check.picks(&raw.capture.all, &root.key("capture").key("all")),
            refuse_quic: raw.capture.refuse_quic,
            proxies: check.proxies(&raw.capture, &root.key("capture").key("proxies")),
        },
        containers,
        trust_assumed: raw.trust.assume,
        on_untrusted: raw.on_untrusted,
        on_agent_failure: raw.on_agent_failure,
        limits: Limits {
            connections: NonZeroU32::new(raw.limits.connections).unwrap_or_else(|| {
                check.problem(&limits.key("connections"), "must be at least 1".to_owned());
                NonZeroU32::MIN
            }),
            request_body: NonZeroU64::new(raw.limits.request_body.0).unwrap_or_else(|| {
                check.problem(&limits.key("request_body"), "must be at least 1".to_owned());
                NonZeroU64::MIN
            }),
            handshake_timeout: check
                .positive(raw.limits.handshake_timeout, &limits.key("handshake_timeout")),
            header_timeout: check
                .positive(raw.limits.header_timeout, &limits.key("header_timeout")),
            keep_alive_timeout: check
                .positive(raw.limits.keep_alive_timeout, &limits.key("keep_alive_timeout")),
            connect_timeout: check
                .positive(raw.limits.connect_timeout, &limits.key("connect_timeout")),
            idle_timeout: check.positive(raw.limits.idle_timeout, &limits.key("idle_timeout")),
            drain_timeout: raw.limits.drain_timeout.0,
        },
        providers,
        prices,
        unknown_price: raw.unknown_price,
        policy,
        reliability,
        alerts,
        webhooks,
        tracing,
        watching,
        ledger: Ledger {
            sync: raw.ledger.sync,
            retention: check.positive(raw.ledger.retention, &ledger.key("retention")),
        },
        metrics: Metrics {
            per_user: raw.metrics.per_user,
            token_file: raw
                .metrics
                .token_file
                .map(|file| check.file(&file, &root.key("metrics").key("token_file"))),
            series_ttl: check
                .positive(raw.metrics.series_ttl, &root.key("metrics").key("series_ttl")),
        },
        apps: check
            .items(&root.key("apps"), &raw.apps)
            .map(|(trail, app)| check.name(app, &trail))
            .collect(),
        log: Log { level: raw.log.level, format: raw.log.format },
        watch: raw.config.watch,
        warnings: check.warnings,
    }
}

struct Check<'a> {
    tree: &'a Node,
    kept: &'a Node,
    problems: &'a mut Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Check<'_> {
    /// Reports at the node itself, or at the nearest one above it that was written.
    fn problem(&mut self, trail: &Trail, what: String) {
        let steps = &trail.0;
        let node =
            (0..=steps.len()).rev().find_map(|kept| self.tree.find(&Trail(steps[..kept].to_vec())));
        let place = node.map(|node| node.at.clone());
        self.problems.push(Problem { place, path: trail.to_string(), what, hint: None });
    }

    /// A key is missing: no problem of its own where it was written but could not be read.
    fn missing(&mut self, trail: &Trail, keys: &[&str], what: &str) {
        if keys.iter().all(|key| self.tree.find(&trail.key(key)).is_none()) {
            self.problem(trail, what.to_owned());
        }
    }

    /// The items of a list with the way to each: what could not be read has left gaps.
    fn items<'i, T>(
        &self,
        trail: &Trail,
        items: &'i [T],
    ) -> impl Iterator<Item = (Trail, &'i T)> + use<'i, T> {
        let written: Vec<usize> = match self.kept.find(trail).map(|node| &node.value) {
            Some(Value::List(written)) => written.iter().map(|(index, _)| *index).collect(),
            _ => (0..items.len()).collect(),
        };
        let trail = trail.clone();
        written.into_iter().zip(items).map(move |(index, item)| (trail.item(index), item))
    }

    fn name(&mut self, name: &str, trail: &Trail) -> Arc<str> {
        let fits = (1..=64).contains(&name.chars().count());
        if !fits || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            self.problem(trail, "must be a name of 1 to 64 characters without blanks".to_owned());
        }
        Arc::from(name)
    }

    /// Callers on the same host can be told apart, others cannot: no listener is for the network.
    fn loopback(&mut self, address: Address, trail: &Trail) -> Option<SocketAddr> {
        if address.0.is_some_and(|address| !address.ip().is_loopback()) {
            self.problem(trail, "must be a loopback address (127.0.0.1 or [::1])".to_owned());
        }
        address.0
    }

    fn positive(&mut self, span: Span, trail: &Trail) -> Duration {
        if span.0.is_zero() {
            self.problem(trail, "must be longer than 0s".to_owned());
        }
        span.0
    }

    fn ports(&mut self, ports: &[u16], trail: &Trail) -> Vec<NonZeroU16> {
        let mut kept = Vec::new();
        for (at, port) in self.items(trail, ports) {
            match NonZeroU16::new(*port) {
                Some(port) if kept.contains(&port) => {
                    self.problem(&at, format!("port {port} is given twice"));
                }
                Some(port) => kept.push(port),
                None => self.problem(&at, "0 is not a port".to_owned()),
            }
        }
        let written = self.tree.find(trail).map(|node| &node.value);
        if ports.is_empty() && matches!(written, Some(Value::List(items)) if items.is_empty()) {
            self.problem(trail, "needs at least one port".to_owned());
        }
        if kept.len() > MAX_PORTS {
            self.problem(trail, format!("takes at most {MAX_PORTS} ports"));
        }
        kept
    }

    fn cidrs(&mut self, cidrs: &[String], trail: &Trail) -> Vec<IpNet> {
        let mut kept = Vec::new();
        for (at, cidr) in self.items(trail, cidrs) {
            match cidr
                .parse::<IpNet>()
                .or_else(|fault| cidr.parse::<IpAddr>().map(IpNet::from).map_err(|_| fault))
            {
                Ok(net) if net.prefix_len() == 0 => {
                    let what = format!("`{cidr}` is every address there is");
                    self.problem(&at, what);
                }
                Ok(net) => kept.push(net.trunc()),
                Err(_) => {
                    let what =
                        format!("`{cidr}` is not a network (`192.0.2.0/24`, `2001:db8::/32`)");
                    self.problem(&at, what);
                }
            }
        }
        kept
    }

    fn providers(
        &mut self,
        raw: BTreeMap<String, RawProvider>,
        prices: &mut Vec<PriceOverride>,
    ) -> Vec<ProviderEntry> {
        let mut taken: BTreeMap<String, Trail> = BTreeMap::new();
        let mut entries = Vec::new();
        for (name, provider) in raw {
            let trail = Trail::default().key("providers").key(&name);
            // The name becomes a path segment of the gateway and a label of every metric.
            let fits =
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            if !fits || name.is_empty() {
                let what = "a provider's name has lower-case letters, digits and `-` only";
                self.problem(&trail, what.to_owned());
            }
            let name: Arc<str> = Arc::from(name);
            let mut hosts = Vec::new();
            for (at, host) in self.items(&trail.key("hosts"), &provider.hosts) {
                let Some(host) = self.host(host, &at) else { continue };
                if let Some(first) = taken.get(&host.to_string()) {
                    self.problem(&at, format!("`{host}` is already {first}"));
                    continue;
                }
                taken.insert(host.to_string(), at);
                hosts.push(host);
            }
            let builtin = builtin(&name);
            if builtin.is_none() {
                self.missing(&trail, &["hosts", "base_url"], "needs `hosts` or `base_url`");
                self.missing(&trail, &["format"], "needs `format` (openai, anthropic, gemini)");
            }
            let endpoints = self.endpoints(&provider, &name, (&hosts, &trail));
            self.model_prices(&name, provider.prices, &trail.key("prices"), prices);
            entries.push(ProviderEntry {
                hosts,
                endpoints,
                format: provider.format.or(builtin).unwrap_or(Format::OpenAi),
                base_url: provider
                    .base_url
                    .and_then(|url| self.base_url(&url, &trail.key("base_url"))),
                ca_file: provider.ca_file.map(|file| self.file(&file, &trail.key("ca_file"))),
                inject_usage: provider.inject_usage,
                free: provider.free,
                api_key: provider.api_key.and_then(|key| self.api_key(&key, &trail.key("api_key"))),
                name,
            });
        }
        entries
    }

    fn host(&mut self, host: &str, trail: &Trail) -> Option<Host> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse() {
            return Some(Host::Address(address));
        }
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() <= 253 && name.split('.').all(label) {
            return Some(Host::Name(Arc::from(name)));
        }
        let what = if host.contains('*') {
            format!("`{host}`: a pattern has no address to look up; list each host")
        } else if host.contains("://") {
            format!("`{host}` is a URL; write the host alone, the URL goes to `base_url`")
        } else {
            format!("`{host}` is not a host name")
        };
        self.problem(trail, what);
        None
    }

    fn base_url(&mut self, url: &str, trail: &Trail) -> Option<http::Uri> {
        let fits = |uri: &http::Uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.query().is_none()
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        };
        let uri = url.parse().ok().filter(fits).filter(|_| !url.contains('#'));
        if uri.is_none() {
            let what = format!("`{url}` is not a base URL: write https://HOST[:PORT][/PATH]");
            self.problem(trail, what);
        }
        uri
    }
}

/// Where a key of the effective configuration was written.
pub(in crate::config) fn origin(tree: &Node, trail: &[Step]) -> Option<String> {
    let node = tree.find(&Trail(trail.to_vec()))?;
    Some(format!("{}:{}", node.at.file.display(), node.at.line))
}
