//! `capture.proxies`: the proxies of the network.

use std::num::NonZeroU16;

use agent_common::MAX_PORTS;

use super::Check;
use crate::config::checked::{Host, NetworkProxy};
use crate::config::problem::Trail;
use crate::config::raw::RawCapture;

impl Check<'_> {
    /// Reads `HOST:PORT` of each.
    pub(super) fn proxies(&mut self, raw: &RawCapture, trail: &Trail) -> Vec<NetworkProxy> {
        let mut kept: Vec<NetworkProxy> = Vec::new();
        for (at, written) in self.items(trail, &raw.proxies) {
            let split = written.rsplit_once(':');
            let Some((host, Ok(port))) = split.map(|(host, port)| (host, port.parse())) else {
                let what =
                    format!("`{written}` is not a proxy: write HOST:PORT (`proxy.corp:3128`)");
                self.problem(&at, what);
                continue;
            };
            let port: NonZeroU16 = port;
            let Some(host) = self.host(host, &at) else { continue };
            if matches!(&host, Host::Address(address) if address.is_loopback()) {
                let what = "connections within this host are not captured: list the proxy that \
                            this one leads to";
                self.problem(&at, what.to_owned());
            }
            let proxy = NetworkProxy { host, port };
            if kept.contains(&proxy) {
                self.problem(&at, format!("`{written}` is given twice"));
                continue;
            }
            kept.push(proxy);
        }
        let mut ports = raw.ports.clone();
        ports.extend(kept.iter().map(|proxy| proxy.port.get()));
        ports.sort_unstable();
        ports.dedup();
        // Of the ports alone, `ports` itself has been told.
        if ports.len() > MAX_PORTS && raw.ports.len() <= MAX_PORTS {
            let what = format!("with `ports` these are more than {MAX_PORTS} ports");
            self.problem(trail, what);
        }
        kept
    }
}
