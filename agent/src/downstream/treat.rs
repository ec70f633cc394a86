//! What to do with a connection, decided from what is known of it. Pure.

use std::sync::Arc;

use super::hello::Opening;
use super::trust::Verdict;
use crate::llm::providers::{Provider, Providers};
use crate::upstream::Offer;

/// What is known when a connection must be dealt with.
pub struct Known<'a> {
    /// How it opened.
    pub opening: &'a Opening,
    /// Whom to look for.
    pub providers: &'a Providers,
    /// Whether TLS to a host can be terminated at all (mode, authority).
    pub can_terminate: &'a dyn Fn(&str) -> bool,
    /// Whether the caller accepts our certificates.
    pub verdict: Verdict,
    /// Whether the caller's connections to a host are to be left alone.
    pub bypassed: &'a dyn Fn(&str) -> bool,
    /// Whether callers that do not are refused.
    pub block_untrusted: bool,
    /// Whether the caller shares a network namespace with one that is metered, and is not itself.
    pub bystander: bool,
}

/// What to do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Treat {
    /// Terminate TLS and serve.
    Terminate {
        /// The provider behind the host.
        provider: Arc<Provider>,
        /// Host in the hello.
        host: Arc<str>,
        /// Protocols to offer the provider.
        offer: Offer,
    },
    /// Relay untouched.
    Relay {
        /// The provider, where the host is one's.
        provider: Option<Arc<Provider>>,
        /// Host in the hello, where there is one.
        host: Option<Arc<str>>,
        /// Why, in one word.
        reason: &'static str,
    },
    /// Refuse.
    Block {
        /// The provider behind the host.
        provider: Arc<Provider>,
        /// Host in the hello.
        host: Arc<str>,
    },
}

/// Decides. Whatever is not surely a provider's and surely ours to terminate is relayed.
pub fn treat(known: &Known<'_>) -> Treat {
    let relay = |provider, host, reason| Treat::Relay { provider, host, reason };
    let hello = match known.opening {
        Opening::Tls(hello) => hello,
        Opening::NotTls => return relay(None, None, "not_tls"),
        Opening::Malformed => return relay(None, None, "malformed"),
        Opening::Silent => return relay(None, None, "silent"),
        Opening::Closed => return relay(None, None, "closed"),
    };
    let Some(host) = hello.server_name.clone() else {
        let reason = if hello.ech { "ech" } else { "no_sni" };
        return relay(None, None, reason);
    };
    let Some(provider) = known.providers.by_host(&host).cloned() else {
        // Behind an encrypted hello there may be another name. Browsers send a dummy (GREASE) with
        // every hello, which looks the same and hides nothing: then this is the name.
        let reason = if hello.ech { "ech" } else { "not_llm" };
        return relay(None, Some(host), reason);
    };
    if known.bystander {
        return relay(Some(provider), Some(host), "container");
    }
    if !(known.can_terminate)(&host) {
        return relay(Some(provider), Some(host), "observe");
    }
    let offer = match Offer::of(&hello.alpn) {
        Some(offer) if hello.is_modern() => offer,
        _ => return relay(Some(provider), Some(host), "protocol"),
    };
    reluctance(known, &provider, &host).unwrap_or(Treat::Terminate { provider, host, offer })
}

/// Why a connection to a provider would not be terminated, whatever TLS it speaks; `None` where it
/// would.
pub fn reluctance(known: &Known<'_>, provider: &Arc<Provider>, host: &Arc<str>) -> Option<Treat> {
    let (provider, host) = (Arc::clone(provider), Arc::clone(host));
    let reason = match known.verdict {
        _ if !(known.can_terminate)(&host) => "observe",
        _ if (known.bypassed)(&host) => "bypassed",
        Verdict::Intercept => return None,
        _ if known.block_untrusted => return Some(Treat::Block { provider, host }),
        Verdict::NeedsRestart => "needs_restart",
        Verdict::NotInstalled => "not_installed",
        Verdict::Untrusted { .. } => "untrusted",
    };
    Some(Treat::Relay { provider: Some(provider), host: Some(host), reason })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::hello::ClientHello;
    use super::super::trust::Signal;
    use super::*;

    fn hello(name: Option<&str>, alpn: &[&str]) -> Opening {
        Opening::Tls(ClientHello {
            server_name: name.map(Arc::from),
            alpn: alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
            ech: false,
            versions: vec![0x0304, 0x0303],
        })
    }

    /// The same with an encrypted hello inside, or a dummy.
    fn ech(opening: Opening) -> Opening {
        let Opening::Tls(hello) = opening else { panic!("not TLS") };
        Opening::Tls(ClientHello { ech: true, ..hello })
    }

    fn decided(opening: &Opening, terminates: bool, verdict: Verdict, block: bool) -> String {
        let providers = Providers::builtin();
        word(treat(&Known {
            opening,
            providers: &providers,
            can_terminate: &|_host| terminates,
            bypassed: &|_host| false,
            verdict,
            block_untrusted: block,
            bystander: false,
        }))
    }

    fn word(treat: Treat) -> String {
        match treat {
            Treat::Terminate { provider, offer, .. } => format!("{}/{offer:?}", provider.name),
            Treat::Relay { reason, .. } => reason.to_owned(),
            Treat::Block { .. } => "block".to_owned(),
        }
    }

    #[test]
    fn only_what_is_surely_a_providers_and_ours_to_terminate_is_terminated() {
        let openai = hello(Some("api.openai.com"), &["h2", "http/1.1"]);
        let untrusted = Verdict::Untrusted { since: SystemTime::UNIX_EPOCH, signal: Signal::Fin };
        let yes = Verdict::Intercept;
        for (opening, terminates, verdict, block, expected) in [
            (&openai, true, yes, false, "openai/Http2First"),
            (&openai, false, yes, false, "observe"),
            (&openai, true, untrusted, false, "untrusted"),
            (&openai, true, untrusted, true, "block"),
            (&openai, true, Verdict::NeedsRestart, false, "needs_restart"),
            (&openai, true, Verdict::NotInstalled, false, "not_installed"),
            (&hello(Some("example.com"), &[]), true, yes, true, "not_llm"),
            (&hello(Some("example.com"), &[]), true, untrusted, true, "not_llm"),
            (&hello(None, &[]), true, yes, false, "no_sni"),
            (&ech(hello(None, &[])), true, yes, false, "ech"),
            (&ech(hello(Some("cloudflare-ech.com"), &["h2"])), true, yes, true, "ech"),
            (&ech(hello(Some("api.openai.com"), &["http/1.1"])), true, yes, false, "openai/Http1"),
            (&hello(Some("api.openai.com"), &["acme-tls/1"]), true, yes, false, "protocol"),
            (&Opening::NotTls, true, yes, true, "not_tls"),
            (&Opening::Malformed, true, yes, false, "malformed"),
            (&Opening::Silent, true, yes, false, "silent"),
        ] {
            assert_eq!(decided(opening, terminates, verdict, block), expected, "{opening:?}");
        }
    }

    #[test]
    fn a_bystander_is_relayed_whatever_it_accepts() {
        let since = SystemTime::UNIX_EPOCH;
        for verdict in [Verdict::Intercept, Verdict::Untrusted { since, signal: Signal::Fin }] {
            let treat = treat(&Known {
                opening: &hello(Some("api.openai.com"), &[]),
                providers: &Providers::builtin(),
                can_terminate: &|_host| true,
                bypassed: &|_host| false,
                verdict,
                block_untrusted: true,
                bystander: true,
            });
            assert_eq!(word(treat), "container");
        }
    }
    #[test]
    fn who_is_to_be_left_alone_is_relayed_and_not_refused() {
        let since = SystemTime::UNIX_EPOCH;
        for verdict in [Verdict::Intercept, Verdict::Untrusted { since, signal: Signal::Fin }] {
            for (terminates, expected) in [(true, "bypassed"), (false, "observe")] {
                let treat = treat(&Known {
                    opening: &hello(Some("api.openai.com"), &[]),
                    providers: &Providers::builtin(),
                    can_terminate: &|_host| terminates,
                    bypassed: &|host| host == "api.openai.com",
                    verdict,
                    block_untrusted: true,
                    bystander: false,
                });
                assert_eq!(word(treat), expected);
            }
        }
    }
}
