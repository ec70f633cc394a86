//! TLS to providers: verified at least as strictly as a good client would, and offering the
//! protocols that our own client offered.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use foldhash::HashMap;
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::Problem;
use super::connect::Io;

/// The HTTP version a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// The name used in ALPN (RFC 7301).
    pub fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// The protocols a client offered, as far as we speak them; the provider sees the same offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Offer {
    /// No ALPN extension: HTTP/1.1 without being asked.
    Nothing,
    /// `http/1.1` alone.
    Http1,
    /// `h2` alone.
    Http2,
    /// `h2`, then `http/1.1`.
    Http2First,
    /// `http/1.1`, then `h2`.
    Http1First,
}

impl Offer {
    /// Reads a client's ALPN list. `None` where the client offers protocols and none of them is
    /// HTTP/1.1 or HTTP/2.
    pub fn of(alpn: &[Vec<u8>]) -> Option<Self> {
        let place = |wanted: Protocol| alpn.iter().position(|name| name == wanted.alpn());
        match (place(Protocol::Http1), place(Protocol::Http2)) {
            (None, None) if alpn.is_empty() => Some(Self::Nothing),
            (None, None) => None,
            (Some(_), None) => Some(Self::Http1),
            (None, Some(_)) => Some(Self::Http2),
            (Some(one), Some(two)) if two < one => Some(Self::Http2First),
            (Some(_), Some(_)) => Some(Self::Http1First),
        }
    }

    /// What we choose where there is no provider to ask.
    pub fn ours(self) -> Protocol {
        match self {
            Self::Nothing | Self::Http1 | Self::Http1First => Protocol::Http1,
            Self::Http2 | Self::Http2First => Protocol::Http2,
        }
    }

    const ALL: [Self; 5] =
        [Self::Nothing, Self::Http1, Self::Http2, Self::Http2First, Self::Http1First];

    fn names(self) -> Vec<Vec<u8>> {
        let protocols: &[Protocol] = match self {
            Self::Nothing => &[],
            Self::Http1 => &[Protocol::Http1],
            Self::Http2 => &[Protocol::Http2],
            Self::Http2First => &[Protocol::Http2, Protocol::Http1],
            Self::Http1First => &[Protocol::Http1, Protocol::Http2],
        };
        protocols.iter().map(|protocol| protocol.alpn().to_vec()).collect()
    }
}

/// Hosts and problems told apart in what was refused; any more are `other`.
const MOST_REFUSED: usize = 256;

/// Client-side TLS for all providers.
#[derive(Debug, Clone)]
pub struct Tls {
    default: Configs,
    by_host: HashMap<Arc<str>, Configs>,
    refused: Arc<Mutex<Refused>>,
}

/// How often each host's certificate was refused, by problem.
type Refused = BTreeMap<(Arc<str>, Problem), u64>;
type Configs = HashMap<Offer, Arc<ClientConfig>>;

impl Tls {
    /// Trusts `roots`, and for the hosts in `pinned` only the certificates given with them.
    ///
    /// `roots` must not contain this agent's own authority: an upstream that presents it is an
    /// attacker.
    pub fn new(
        roots: RootCertStore,
        pinned: impl IntoIterator<Item = (Arc<str>, RootCertStore)>,
    ) -> Result<Self, rustls::Error> {
        let by_host = pinned
            .into_iter()
            .map(|(host, roots)| Ok((host, configs(roots)?)))
            .collect::<Result<_, rustls::Error>>()?;
        Ok(Self { default: configs(roots)?, by_host, refused: Arc::default() })
    }

    /// Runs the handshake; the protocol is what the provider chose from `offer`.
    pub async fn handshake(
        &self,
        host: &Arc<str>,
        offer: Offer,
        io: Io,
    ) -> io::Result<(TlsStream<Io>, Protocol)> {
        let configs = self.by_host.get(host).unwrap_or(&self.default);
        let config = configs
            .get(&offer)
            .ok_or_else(|| io::Error::other("no TLS configuration for this offer"))?;
        let name = ServerName::try_from(host.to_string())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connected = TlsConnector::from(Arc::clone(config)).connect(name, io).await;
        let stream = connected.inspect_err(|error| self.count(host, error))?;
        let chosen = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        Ok((stream, chosen))
    }

    /// How often each host's certificate was not accepted, and over what.
    pub fn refused(&self) -> Vec<(Arc<str>, Problem, u64)> {
        let refused = self.refused.lock();
        let all =
            refused.iter().map(|((host, problem), count)| (Arc::clone(host), *problem, *count));
        all.collect()
    }

    fn count(&self, host: &Arc<str>, error: &io::Error) {
        let Some(problem) = Problem::of(error) else { return };
        let mut refused = self.refused.lock();
        let known = refused.contains_key(&(Arc::clone(host), problem));
        let host = if known || refused.len() < MOST_REFUSED { host } else { &Arc::from("other") };
        *refused.entry((Arc::clone(host), problem)).or_default() += 1;
    }
}

/// The system's roots without `own`, or Mozilla's where the system has none.
pub fn system_roots(own: &[CertificateDer<'_>]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(
        distribution_roots().into_iter().filter(|cert| !own.iter().any(|own| own == cert)),
    );
    if store.is_empty() {
        tracing::warn!("the system has no certificate store: using Mozilla's built-in roots");
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    store
}

/// The distribution's store, found by path: `SSL_CERT_FILE` and `SSL_CERT_DIR` may be set for
/// applications, to a bundle that holds our own authority.
fn distribution_roots() -> Vec<CertificateDer<'static>> {
    const BUNDLES: [&str; 5] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    BUNDLES
        .iter()
        .map(std::path::Path::new)
        .find(|path| path.exists())
        .map(|path| rustls_native_certs::load_certs_from_paths(Some(path), None).certs)
        .unwrap_or_default()
}

fn configs(roots: RootCertStore) -> Result<Configs, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let base = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Offer::ALL
        .into_iter()
        .map(|offer| {
            let mut config = base.clone();
            config.alpn_protocols = offer.names();
            (offer, Arc::new(config))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alpn(names: &[&str]) -> Vec<Vec<u8>> {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    #[test]
    fn the_offer_mirrors_the_client_in_content_and_order() {
        for (client, expected) in [
            (alpn(&[]), Some(Offer::Nothing)),
            (alpn(&["http/1.1"]), Some(Offer::Http1)),
            (alpn(&["h2"]), Some(Offer::Http2)),
            (alpn(&["h2", "http/1.1"]), Some(Offer::Http2First)),
            (alpn(&["http/1.1", "h2"]), Some(Offer::Http1First)),
            (alpn(&["grpc-exp", "h2"]), Some(Offer::Http2)),
            (alpn(&["acme-tls/1"]), None),
        ] {
            assert_eq!(Offer::of(&client), expected, "{client:?}");
        }
    }
}
