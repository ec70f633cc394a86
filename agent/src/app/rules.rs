//! From the configuration to what calls, connections and dials go by.

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context as _;
use ipnet::IpNet;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::telemetry;
use crate::config::{self, Config, EndpointCredential, Host, PriceOverride, ProviderEntry};
use crate::llm::price::{Card, Override, Prices, Rate};
use crate::llm::providers::{Base, Format, Provider, Providers};
use crate::llm::usage::NanoUsd;
use crate::pipeline::room::Room;
use crate::pipeline::{Credential, Credentials, Endpoint, Endpoints, Policies, Rules};
use crate::upstream::{Tls, tls};

/// What calls go by. Policies and the room for bodies outlive the snapshot.
pub(super) fn rules(config: &Config, policies: Arc<Policies>, room: Room) -> anyhow::Result<Rules> {
    Ok(Rules {
        environment: Arc::clone(&config.environment),
        providers: providers(config),
        prices: Prices::embedded().with_overrides(config.prices.iter().map(price).collect()),
        request_body: usize::try_from(config.limits.request_body.get()).unwrap_or(usize::MAX),
        room,
        credentials: credentials(config)?,
        endpoints: endpoints(config)?,
        containers: config.containers.clone(),
        tracing: telemetry::sampling(config),
        policies,
    })
}

/// Where connections are wanted: hosts, and networks beside them.
pub(super) fn wanted(
    config: &Config,
    providers: &Providers,
) -> (BTreeSet<Arc<str>>, BTreeSet<IpNet>) {
    let mut hosts: BTreeSet<_> = providers.hosts().cloned().collect();
    let mut networks: BTreeSet<_> = config.capture.cidrs.iter().copied().collect();
    for proxy in &config.capture.proxies {
        match &proxy.host {
            Host::Name(name) => drop(hosts.insert(Arc::clone(name))),
            Host::Address(address) => drop(networks.insert((*address).into())),
        }
    }
    (hosts, networks)
}

/// The providers' keys, read from where they are. One that can't be read stops the start: a chain
/// that silently ends early is found out when it is needed.
fn credentials(config: &Config) -> anyhow::Result<Credentials> {
    let mut keys = Vec::new();
    for entry in &config.providers {
        let Some(source) = &entry.api_key else { continue };
        let at = || format!("providers.{}.api_key", entry.name);
        keys.push((Arc::clone(&entry.name), source.read().with_context(at)?));
    }
    Ok(Credentials::new(keys)?)
}

/// Where calls for providers with several endpoints can go, with the keys read from where they are.
fn endpoints(config: &Config) -> anyhow::Result<Endpoints> {
    let providers = providers(config);
    let mut all = Vec::new();
    for entry in config.providers.iter().filter(|entry| !entry.endpoints.is_empty()) {
        let own = providers.by_name(&entry.name).map(|provider| &provider.base);
        let mut endpoints = Vec::new();
        for endpoint in &entry.endpoints {
            let name: Arc<str> = Arc::from(format!("{}.endpoints.{}", entry.name, endpoint.name));
            let credential = match &endpoint.credential {
                EndpointCredential::Own(source) => {
                    let at = || format!("providers.{name}.api_key");
                    let key = source.read().with_context(at)?;
                    // The same key that a provider could have.
                    Credentials::new([(Arc::clone(&name), key.clone())])?;
                    Credential::Own(key)
                }
                EndpointCredential::Client => Credential::Client,
                EndpointCredential::Nothing => Credential::Nothing,
            };
            let Some(base) = endpoint.base_url.as_ref().map(base).or_else(|| own.cloned()) else {
                continue;
            };
            endpoints.push(Endpoint { name: Arc::clone(&endpoint.name), base, credential });
        }
        all.push((Arc::clone(&entry.name), endpoints));
    }
    Ok(Endpoints::new(all))
}

/// The built-in providers, and the configuration's own before them.
pub fn providers(config: &Config) -> Providers {
    let builtin = Providers::builtin();
    let own = config.providers.iter();
    let own = own.map(|entry| provider(entry, builtin.by_name(&entry.name).map(Arc::as_ref)));
    let own = own.collect();
    builtin.with(own)
}

/// Client-side TLS: the system's roots, and the roots of providers that have their own. `root` is
/// our own certificate, which no provider may present.
pub(super) fn tls(config: &Config, root: Option<&CertificateDer<'_>>) -> anyhow::Result<Tls> {
    let own: Vec<_> = root.into_iter().cloned().collect();
    let mut pinned = Vec::new();
    for entry in &config.providers {
        let Some(file) = &entry.ca_file else { continue };
        let roots = roots_of(file, &own)
            .with_context(|| format!("providers.{}.ca_file: {}", entry.name, file.display()))?;
        let builtin = Providers::builtin();
        let provider = provider(entry, builtin.by_name(&entry.name).map(Arc::as_ref));
        let hosts = provider.hosts.iter().chain([&provider.base.host]);
        pinned.extend(hosts.map(|host| (Arc::clone(host), roots.clone())));
    }
    for entry in &config.providers {
        for endpoint in &entry.endpoints {
            let (Some(file), Some(url)) = (&endpoint.ca_file, &endpoint.base_url) else { continue };
            let at = || format!("providers.{}.endpoints: {}", entry.name, file.display());
            pinned.push((base(url).host, roots_of(file, &own).with_context(at)?));
        }
    }
    Ok(Tls::new(tls::system_roots(&own), pinned)?)
}

/// The certificates of a file, without our own, which a bundle of the system's may hold.
pub(super) fn roots_of(file: &Path, own: &[CertificateDer<'_>]) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file)? {
        let certificate = certificate?;
        if !own.contains(&certificate) {
            roots.add(certificate)?;
        }
    }
    anyhow::ensure!(!roots.is_empty(), "no certificate in the file");
    Ok(roots)
}

fn provider(entry: &ProviderEntry, builtin: Option<&Provider>) -> Provider {
    let written = entry.hosts.iter().map(|host| match host {
        Host::Name(name) => Arc::clone(name),
        Host::Address(address) => Arc::from(address.to_string()),
    });
    let named: Vec<Arc<str>> = written.collect();
    let hosts = match builtin {
        Some(builtin) if named.is_empty() => builtin.hosts.clone(),
        _ => named,
    };
    let format = match entry.format {
        config::Format::OpenAi => Format::OpenAi,
        config::Format::Anthropic => Format::Anthropic,
        config::Format::Gemini => Format::Gemini,
    };
    let base = match (&entry.base_url, builtin) {
        (Some(url), _) => base(url),
        (None, Some(builtin)) if hosts == builtin.hosts => builtin.base.clone(),
        (None, _) => Base {
            tls: true,
            host: hosts.first().map_or_else(|| Arc::from(""), Arc::clone),
            port: 443,
            prefix: Arc::from(""),
        },
    };
    Provider {
        name: Arc::clone(&entry.name),
        hosts,
        format,
        base,
        inject_usage: entry
            .inject_usage
            .unwrap_or_else(|| builtin.is_some_and(|builtin| builtin.inject_usage)),
        free: entry.free,
        prices: builtin.and_then(|builtin| builtin.prices.clone()),
    }
}

/// A base URL as its users write it ends in `/v1` (or Google's `/v1beta`), which our paths already
/// begin with.
fn base(url: &http::Uri) -> Base {
    let tls = url.scheme_str() != Some("http");
    let path = url.path().trim_end_matches('/');
    Base {
        tls,
        host: Arc::from(url.host().unwrap_or_default().to_ascii_lowercase()),
        port: url.port_u16().unwrap_or(if tls { 443 } else { 80 }),
        prefix: Arc::from(
            path.strip_suffix("/v1").or_else(|| path.strip_suffix("/v1beta")).unwrap_or(path),
        ),
    }
}

fn price(own: &PriceOverride) -> Override {
    // Both are exact decimals of dollars, with nine digits: none is lost.
    let rate = |price: NanoUsd| Rate::from_str(&price.to_string()).ok();
    Override {
        provider: Arc::clone(&own.provider),
        model: Arc::clone(&own.model),
        from: own.from.and_then(|day| {
            let midnight = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
            Some(midnight.timestamp().into())
        }),
        base: Card {
            input: rate(own.rates.input),
            cache_read: rate(own.rates.cache_read),
            cache_write_5m: rate(own.rates.cache_write_5m),
            cache_write_1h: rate(own.rates.cache_write_1h),
            output: rate(own.rates.output),
            reasoning: rate(own.rates.reasoning),
            audio_input: rate(own.rates.audio_input),
            audio_output: rate(own.rates.audio_output),
        },
        above: Vec::new(),
    }
}
