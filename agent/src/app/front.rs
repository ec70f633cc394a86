//! What every connection is served with: who clients are, the CA they accept, how providers are
//! reached.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use super::rules;
use super::takers::Takers;
use crate::capture::Helper;
use crate::capture::helper::{Kind, Wish};
use crate::capture::identity::Identities;
use crate::capture::owner::Owners;
use crate::capture::resolve::Resolver;
use crate::clock::since_boot;
use crate::config::{Config, OnUntrusted, Paths};
use crate::downstream::bypass::Bypasses;
use crate::downstream::ca::Authority;
use crate::downstream::certs::Leaves;
use crate::downstream::patience::Patience;
use crate::downstream::trust::{self, Trust, installed};
use crate::downstream::tunnel::Tunnels;
use crate::downstream::{ClientTls, Front, Limits, Runtime, Upstream};
use crate::pipeline::Policies;
use crate::pipeline::room::Room;
use crate::record::Sink;
use crate::upstream::connect::{BoxFuture, Resolve, Sockets, Tcp};
use crate::upstream::{Pool, SocketOptions};

/// Pipes that tunnels may hold; beyond it they copy.
pub(super) const PIPES: usize = 64;

/// Puts the front together; nothing listens yet.
pub(super) fn front(
    config: &Config,
    paths: &Paths,
    (helper, resolver): (&Helper, &Resolver),
    runtime: &Runtime,
    takers: &Arc<Takers>,
) -> anyhow::Result<Front> {
    let now = runtime.clock.now();
    let policies = Policies::new(config.policy.clone(), config.reliability.clone(), now);
    let rules = rules::rules(config, Arc::new(policies), Room::default())?;
    let hosts: Vec<_> = rules.providers.hosts().cloned().collect();
    let authority = Arc::new(Authority::open_or_create(&paths.state, &hosts, now.wall)?);
    let installed_at = installed::since("/".as_ref(), &paths.state, authority.root());
    let trusted = trust::Settings::new(config.trust_assumed, installed_at, now, since_boot());
    let tcp = Tcp::new(
        Arc::new(Names(resolver.clone())),
        Arc::new(Marked(helper.clone())),
        config.limits.connect_timeout,
    );
    let tls = rules::tls(config, Some(authority.root().certificate()))?;
    let pool =
        Pool::new(Arc::new(tcp.clone()), tls, Arc::clone(&runtime.clock), runtime.drain.clone());
    Ok(Front {
        identities: Identities::new(helper.clone(), config.apps.iter().map(ToString::to_string)),
        owners: Owners::new(helper.clone()),
        client: ClientTls {
            leaves: Some(Leaves::new(authority)?),
            trust: Trust::new(trusted),
            terminate: AtomicBool::new(false),
            block_untrusted: AtomicBool::new(config.on_untrusted == OnUntrusted::Block),
            bypasses: Bypasses::default(),
        },
        upstream: Upstream {
            pool: Arc::new(pool),
            tcp,
            tunnels: Tunnels::new(config.limits.idle_timeout, PIPES),
            proxies: config.capture.proxies.iter().map(|proxy| proxy.port.get()).collect(),
        },
        rules: Arc::new(ArcSwap::from_pointee(rules)),
        sink: Arc::clone(takers) as Arc<dyn Sink>,
        webhooks: OnceLock::new(),
        runtime: runtime.clone(),
        limits: Limits {
            handshake: config.limits.handshake_timeout,
            patience: Patience {
                first: config.limits.header_timeout,
                head: config.limits.header_timeout,
                idle: config.limits.keep_alive_timeout,
            },
        },
    })
}

/// The kernel capture's resolver, whose questions are not redirected, for our own dialling.
#[derive(Debug)]
struct Names(Resolver);

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<std::net::IpAddr>>> {
        Box::pin(async move {
            let answer = self.0.lookup(host).await.map_err(io::Error::other)?;
            Ok(answer.addrs)
        })
    }
}

/// The helper's sockets, which the programs leave alone, for our own dialling.
#[derive(Debug)]
pub(super) struct Marked(pub(super) Helper);

impl Sockets for Marked {
    fn stream(&self, to: SocketAddr, options: SocketOptions) -> io::Result<OwnedFd> {
        let SocketOptions { device, mark, netns } = options;
        self.0.socket(Wish { kind: Kind::Stream, v6: to.is_ipv6(), mark, device, netns })
    }
}
