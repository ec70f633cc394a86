//! Several endpoints of one provider, and whose credential each of them is sent.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::Check;
use crate::config::checked::{EndpointCredential, EndpointEntry, Host, ProviderEntry};
use crate::config::problem::Trail;
use crate::config::raw::{RawCredentials, RawEndpoint, RawProvider};
use crate::llm::providers::Providers;
use crate::policy::reliability::balance::Member;

/// Endpoints of one provider: each is a name in metrics.
const MOST: usize = 64;
/// The largest share.
const HEAVIEST: u32 = 1000;

/// The endpoints as the balance knows them.
pub(super) fn members(providers: &[ProviderEntry]) -> Vec<(Arc<str>, Vec<Member>)> {
    let several = providers.iter().filter(|entry| !entry.endpoints.is_empty());
    let of = |entry: &ProviderEntry| {
        let members = entry
            .endpoints
            .iter()
            .map(|endpoint| Member { name: Arc::clone(&endpoint.name), weight: endpoint.weight });
        (Arc::clone(&entry.name), members.collect())
    };
    several.map(of).collect()
}

impl Check<'_> {
    /// The endpoints of a provider with these hosts of its own.
    pub(super) fn endpoints(
        &mut self,
        raw: &RawProvider,
        provider: &str,
        (hosts, trail): (&[Host], &Trail),
    ) -> Vec<EndpointEntry> {
        let list = trail.key("endpoints");
        if raw.endpoints.len() > MOST {
            self.problem(&list, format!("takes at most {MOST} endpoints"));
        }
        let home = Home::new(raw, provider, hosts);
        let mut entries: Vec<EndpointEntry> = Vec::new();
        for (at, endpoint) in self.items(&list, &raw.endpoints) {
            let base_url = match &endpoint.base_url {
                None => None,
                Some(url) => match self.base_url(url, &at.key("base_url")) {
                    Some(url) => Some(url),
                    None => continue,
                },
            };
            let written = endpoint.name.as_deref();
            let name = match (written, &base_url) {
                (Some(name), _) => self.endpoint_name(name, &at.key("name")),
                (None, Some(url)) => place(url),
                (None, None) => home.place.clone(),
            };
            let taken = |name: &str| entries.iter().any(|entry| *entry.name == *name);
            let name = match written {
                Some(_) if taken(&name) => {
                    self.problem(&at.key("name"), format!("there are two endpoints `{name}`"));
                    continue;
                }
                Some(_) => name,
                // Several keys of one host.
                None => (1..=MOST)
                    .map(
                        |number| {
                            if number == 1 { name.clone() } else { format!("{name}#{number}") }
                        },
                    )
                    .find(|name| !taken(name))
                    .unwrap_or(name),
            };
            let weight = NonZeroU32::new(endpoint.weight).filter(|it| it.get() <= HEAVIEST);
            if weight.is_none() {
                self.problem(&at.key("weight"), format!("must be from 1 to {HEAVIEST}"));
            }
            let is_home = base_url.as_ref().is_none_or(|url| home.has(url));
            if endpoint.ca_file.is_some() && base_url.is_none() {
                let what = "goes to `providers.NAME.ca_file`, or needs a `base_url` beside it";
                self.problem(&at.key("ca_file"), what.to_owned());
            }
            let Some(credential) = self.credential(endpoint, is_home, &at) else { continue };
            entries.push(EndpointEntry {
                name: Arc::from(name),
                base_url,
                weight: weight.unwrap_or(NonZeroU32::MIN),
                credential,
                ca_file: endpoint.ca_file.as_ref().map(|file| self.file(file, &at.key("ca_file"))),
            });
        }
        entries
    }

    fn endpoint_name(&mut self, name: &str, trail: &Trail) -> String {
        if name.contains(['@', '/']) {
            self.problem(trail, "a name of an endpoint has no `@` and no `/`".to_owned());
        }
        self.name(name, trail).to_string()
    }

    fn credential(
        &mut self,
        endpoint: &RawEndpoint,
        is_home: bool,
        at: &Trail,
    ) -> Option<EndpointCredential> {
        match (&endpoint.api_key, endpoint.credentials) {
            (Some(_), Some(_)) => {
                self.problem(at, "takes either `api_key` or `credentials`".to_owned());
                None
            }
            (Some(key), None) => {
                let key = self.api_key(key, &at.key("api_key"))?;
                Some(EndpointCredential::Own(key))
            }
            (None, Some(RawCredentials::Client)) => Some(EndpointCredential::Client),
            (None, Some(RawCredentials::None)) => Some(EndpointCredential::Nothing),
            (None, None) if is_home => Some(EndpointCredential::Client),
            (None, None) => {
                let what = "is not the provider's own host: needs `api_key`, or `credentials: \
                            client` to send it the client's credential, or `credentials: none`";
                self.missing(at, &["api_key", "credentials"], what);
                None
            }
        }
    }
}

/// Where a provider is by itself: there the client's credential goes anyway.
struct Home {
    hosts: Vec<String>,
    base: Option<http::Uri>,
    /// What an endpoint there is called.
    place: String,
}

impl Home {
    fn new(raw: &RawProvider, provider: &str, hosts: &[Host]) -> Self {
        let builtin = Providers::builtin();
        let known = builtin.by_name(provider).map(|known| known.hosts.clone()).unwrap_or_default();
        let base: Option<http::Uri> = raw.base_url.as_ref().and_then(|url| url.parse().ok());
        let written = hosts.iter().map(|host| match host {
            Host::Name(name) => name.to_string(),
            Host::Address(address) => address.to_string(),
        });
        let hosts: Vec<String> = written.chain(known.iter().map(ToString::to_string)).collect();
        let place = match (&base, hosts.first()) {
            (Some(base), _) => place(base),
            (None, Some(host)) => host.clone(),
            (None, None) => provider.to_owned(),
        };
        Self { hosts, base, place }
    }

    fn has(&self, url: &http::Uri) -> bool {
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_known = self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host));
        let same =
            |base: &http::Uri| (base.scheme(), base.authority()) == (url.scheme(), url.authority());
        // In the clear, a credential is for everyone on the way.
        let is_official = is_known
            && url.scheme_str() == Some("https")
            && matches!(url.port_u16(), None | Some(443));
        is_official || self.base.as_ref().is_some_and(same)
    }
}

fn place(url: &http::Uri) -> String {
    let host = url.host().unwrap_or_default().to_ascii_lowercase();
    match url.port_u16() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}
