//! Where the explicit port may lead: anywhere its user could go alone, but not to ourselves and
//! not to addresses that trust whoever can reach them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hyper::StatusCode;

use crate::downstream::Front;
use crate::upstream::{Destination, Own};

/// Why a destination is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// An address that must not be reached through us.
    #[error("{0} is not reachable through this proxy: it is {1}")]
    Forbidden(SocketAddr, &'static str),
    /// The name has no address.
    #[error("{host} does not resolve: {source}")]
    Unresolved {
        /// Name asked for.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
}

impl Refusal {
    /// Status to answer with.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Forbidden(..) => StatusCode::FORBIDDEN,
            Self::Unresolved { .. } => StatusCode::BAD_GATEWAY,
        }
    }
}

/// Resolves `host` and checks every address; the result leads only to addresses that were checked.
pub async fn check(front: &Front, host: &str, port: u16) -> Result<Destination, Refusal> {
    let name: Arc<str> = Arc::from(host);
    let unresolved = |source| Refusal::Unresolved { host: host.to_owned(), source };
    let destination = Destination::Name(Arc::clone(&name), port);
    let addresses = front.upstream.tcp.addresses(&destination).await.map_err(unresolved)?;
    for address in &addresses {
        if let Some(why) = forbidden(*address, front.upstream.tcp.own()) {
            front.sink.fault("proxy", "forbidden_target");
            return Err(Refusal::Forbidden(*address, why));
        }
    }
    if front.rules.load().providers.by_host(&name).is_some() {
        // Providers are dialled by name, so that their connections can be shared.
        return Ok(destination);
    }
    let first = addresses.first().copied();
    first
        .map(Destination::Address)
        .ok_or_else(|| unresolved(io::Error::new(io::ErrorKind::NotFound, "no address")))
}

fn forbidden(address: SocketAddr, own: &Own) -> Option<&'static str> {
    let ip = address.ip().to_canonical();
    if own.has(address) {
        return Some("the agent itself");
    }
    match ip {
        IpAddr::V4(ip) if ip.is_link_local() => Some("link-local or a metadata service"),
        // Metadata services of Alibaba, Oracle and Azure outside the link-local range.
        IpAddr::V4(ip)
            if matches!(
                ip.octets(),
                [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16]
            ) =>
        {
            Some("a metadata service")
        }
        // NAT64 (RFC 6052): the address meant is in the last four bytes.
        IpAddr::V6(ip) if matches!(ip.segments(), [0x64, 0xff9b, 0, 0, 0, 0, _, _]) => {
            let [.., a, b, c, d] = ip.octets();
            forbidden(SocketAddr::from(([a, b, c, d], address.port())), own)
        }
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some("link-local"),
        // The metadata services of AWS (fd00:ec2::254) and of Google Cloud (fd20:ce::254).
        IpAddr::V6(ip) if matches!(ip.segments(), [0xfd00, 0xec2, ..] | [0xfd20, 0xce, ..]) => {
            Some("a metadata service")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_ourselves_nor_metadata_services_can_be_reached() {
        let listeners = ["127.0.0.1:4180", "[::1]:4180", "127.0.0.1:4181"];
        let own = Own::default();
        own.fixed(listeners.map(|own| own.parse().unwrap()).into());
        for (address, allowed) in [
            ("127.0.0.1:4180", false),
            ("127.0.0.2:4180", false),
            ("0.0.0.0:4181", false),
            ("[::ffff:127.0.0.1]:4181", false),
            ("127.0.0.1:11434", true),
            ("169.254.169.254:80", false),
            ("[fe80::1]:443", false),
            ("[fd00:ec2::254]:80", false),
            ("100.100.100.200:80", false),
            ("[64:ff9b::169.254.169.254]:80", false),
            ("[64:ff9b::198.51.100.7]:443", true),
            ("192.0.2.1:4180", true),
            ("198.51.100.7:443", true),
        ] {
            let verdict = forbidden(address.parse().unwrap(), &own);
            assert_eq!(verdict.is_none(), allowed, "{address}: {verdict:?}");
        }
    }
}
