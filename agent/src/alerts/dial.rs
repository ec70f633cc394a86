//! Connections to receivers: names resolved, addresses looked at, and exactly those dialled.

use std::net::SocketAddr;
use std::sync::Arc;

use super::delivery::Failed;
use super::guard::{Reach, permits, reach};
use crate::upstream::connect::Tcp;
use crate::upstream::{Connect, Destination, Io, Offer, SocketOptions, Tls};

/// Dials, and speaks TLS as strictly as to providers: our own authority is no root.
#[derive(Debug, Clone)]
pub struct Dial {
    /// Resolves and dials.
    pub tcp: Tcp,
    /// Checks certificates.
    pub tls: Tls,
}

impl Dial {
    /// The addresses of a host that something may be posted to. What is dialled is one of these:
    /// the name is not looked up again, so a second answer cannot lead elsewhere.
    pub(super) async fn permitted(
        &self,
        (host, port): (&Arc<str>, u16),
        allow_private: bool,
    ) -> Result<Vec<SocketAddr>, Failed> {
        let found = self.addresses(host, port).await?;
        let fits = |address: &SocketAddr| permits(address.ip(), allow_private);
        let permitted: Vec<_> = found.iter().copied().filter(fits).collect();
        match (permitted.is_empty(), found.first()) {
            (true, Some(first)) if reach(first.ip()) == Reach::Never => {
                Err(Failed::never(format!("{host} leads to {}: never posted to", first.ip())))
            }
            (true, Some(first)) => Err(Failed::never(format!(
                "{host} leads to the private address {}: set allow_private if that is meant",
                first.ip()
            ))),
            _ => Ok(permitted),
        }
    }

    /// All addresses of a host; at least one.
    pub(super) async fn addresses(
        &self,
        host: &Arc<str>,
        port: u16,
    ) -> Result<Vec<SocketAddr>, Failed> {
        let name = Destination::Name(Arc::clone(host), port);
        match self.tcp.addresses(&name).await {
            Ok(found) if found.is_empty() => Err(Failed::later(format!("{host} has no address"))),
            Ok(found) => Ok(found),
            Err(error) => Err(Failed::later(format!("{host} cannot be looked up: {error}"))),
        }
    }

    /// Connects to the first of these that answers.
    pub(super) async fn connect(&self, to: &[SocketAddr]) -> Result<Io, Failed> {
        let mut last = Failed::later("no address to connect to");
        for address in to {
            let to = Destination::Address(*address);
            match self.tcp.connect(&to, SocketOptions::default()).await {
                Ok(io) => return Ok(io),
                Err(error) => {
                    last = Failed::later(format!("cannot connect to {address}: {error}"));
                }
            }
        }
        Err(last)
    }

    /// Speaks TLS from here on.
    pub(super) async fn secure(&self, io: Io, host: &Arc<str>, offer: Offer) -> Result<Io, Failed> {
        let secured = self.tls.handshake(host, offer, io).await;
        let (io, _protocol) =
            secured.map_err(|error| Failed::later(format!("TLS with {host} failed: {error}")))?;
        Ok(Box::new(io))
    }
}
