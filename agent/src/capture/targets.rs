//! Which addresses are wanted: what the provider hosts resolve to, plus configured networks.
//!
//! An address is a hint, not a proof: content networks serve many names from one address. What
//! arrives is asked for its name (SNI) and passed through where it is none of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use ipnet::IpNet;
use tokio::sync::watch;

use super::resolve::{Answer, Resolver};
use crate::clock::Clock;
use crate::drain::Drain;

/// An address stays wanted this long after the last answer that named it: clients hold on to
/// addresses well past their time to live.
const GRACE: Duration = Duration::from_hours(1);
/// A name is asked for again after its time to live, within these bounds.
const SOONEST: Duration = Duration::from_secs(5);
const LATEST: Duration = Duration::from_mins(1);
/// A name that did not resolve is asked for again after this.
const RETRY: Duration = Duration::from_secs(5);
/// Addresses kept for one name; the longest unseen go first.
const PER_HOST: usize = 256;

/// What to capture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Host names of providers.
    pub hosts: BTreeSet<Arc<str>>,
    /// Networks beside them.
    pub networks: BTreeSet<IpNet>,
}

/// Follows the wanted hosts to their addresses. Clones share one state.
#[derive(Debug, Clone)]
pub struct Targets {
    resolver: Resolver,
    clock: Arc<dyn Clock>,
    names: Arc<ArcSwap<BTreeMap<IpAddr, Arc<str>>>>,
    settled: watch::Sender<bool>,
}

impl Targets {
    /// Nothing followed yet.
    pub fn new(resolver: Resolver, clock: Arc<dyn Clock>) -> Self {
        Self { resolver, clock, names: Arc::default(), settled: watch::Sender::new(false) }
    }

    /// The wanted host that an address belongs to. Where several share it: the first in
    /// alphabetical order, so that the answer does not change from one connection to the next.
    pub fn host(&self, addr: IpAddr) -> Option<Arc<str>> {
        self.names.load().get(&addr.to_canonical()).map(Arc::clone)
    }

    /// Resolves when every wanted host has been answered for, or has failed, once.
    pub async fn settled(&self) {
        // The sender lives in `self`: waiting cannot fail.
        drop(self.settled.subscribe().wait_for(|settled| *settled).await);
    }

    /// Keeps the targets up to date until the agent is told to finish: asks for every host again
    /// when its answer runs out, and hands the whole set to `apply` whenever it changed. Follows
    /// changes of `wanted`.
    pub async fn keep(
        &self,
        mut wanted: watch::Receiver<Arc<Wanted>>,
        apply: impl Fn(&[IpNet]) + Send,
        drain: Drain,
    ) {
        let mut book = Book::default();
        let mut asked = FuturesUnordered::new();
        book.want(&wanted.borrow_and_update());
        let mut changed = true;
        // Ends with whoever tells what is wanted; what is followed then, is followed on.
        let mut told = true;
        loop {
            let now = self.clock.now().mono;
            for host in book.due(now) {
                asked.push(ask(self.resolver.clone(), host));
            }
            changed |= book.expire(now);
            if std::mem::take(&mut changed) {
                apply(&book.networks());
                self.names.store(Arc::new(book.names()));
            }
            if book.is_settled() {
                self.settled.send_replace(true);
            }
            let pause = book.next_due().map_or(LATEST, |at| at.saturating_duration_since(now));
            tokio::select! {
                () = drain.signalled() => return,
                Some((host, answer)) = asked.next(), if !asked.is_empty() => {
                    changed = book.answered(&host, answer, self.clock.now().mono);
                }
                news = wanted.changed(), if told => {
                    told = news.is_ok();
                    changed = told;
                    book.want(&wanted.borrow_and_update());
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

async fn ask(resolver: Resolver, host: Arc<str>) -> (Arc<str>, Option<Answer>) {
    match resolver.lookup(&host).await {
        Ok(answer) => (host, Some(answer)),
        Err(error) => {
            tracing::debug!(%error, "a provider host is asked for again soon");
            (host, None)
        }
    }
}

/// What is known of every host; decides who is asked when, and what is wanted in between.
#[derive(Debug, Default)]
struct Book {
    hosts: BTreeMap<Arc<str>, Page>,
    networks: BTreeSet<IpNet>,
}

#[derive(Debug, Default)]
struct Page {
    /// Until when each address is wanted.
    addrs: BTreeMap<IpAddr, Instant>,
    /// When to ask again; `None` for at once.
    due: Option<Instant>,
    asked: bool,
    answered: bool,
}

impl Book {
    fn want(&mut self, wanted: &Wanted) {
        self.hosts.retain(|host, _| wanted.hosts.contains(host));
        for host in &wanted.hosts {
            self.hosts.entry(Arc::clone(host)).or_default();
        }
        self.networks.clone_from(&wanted.networks);
    }

    /// The hosts to ask for now; each is handed out once until it is answered.
    fn due(&mut self, now: Instant) -> Vec<Arc<str>> {
        let mut due = Vec::new();
        for (host, page) in &mut self.hosts {
            if !page.asked && page.due.is_none_or(|at| at <= now) {
                page.asked = true;
                due.push(Arc::clone(host));
            }
        }
        due
    }

    /// Takes in an answer; true where an address is new.
    fn answered(&mut self, host: &str, answer: Option<Answer>, now: Instant) -> bool {
        // Absent where it is no longer wanted.
        let Some(page) = self.hosts.get_mut(host) else { return false };
        page.asked = false;
        page.answered = true;
        let Some(answer) = answer else {
            page.due = Some(now + RETRY);
            return false;
        };
        page.due = Some(now + answer.ttl.clamp(SOONEST, LATEST));
        let until = now + GRACE.max(answer.ttl);
        let mut new = false;
        for addr in answer.addrs {
            new |= page.addrs.insert(addr.to_canonical(), until).is_none();
        }
        while page.addrs.len() > PER_HOST {
            let oldest = page.addrs.iter().min_by_key(|(_, until)| **until).map(|(addr, _)| *addr);
            page.addrs.retain(|addr, _| Some(*addr) != oldest);
        }
        new
    }

    /// Drops addresses that nobody named for long; true where there were any.
    fn expire(&mut self, now: Instant) -> bool {
        let count = |hosts: &BTreeMap<Arc<str>, Page>| -> usize {
            hosts.values().map(|page| page.addrs.len()).sum()
        };
        let before = count(&self.hosts);
        for page in self.hosts.values_mut() {
            page.addrs.retain(|_, until| *until > now);
        }
        count(&self.hosts) != before
    }

    fn next_due(&self) -> Option<Instant> {
        self.hosts.values().filter(|page| !page.asked).filter_map(|page| page.due).min()
    }

    fn is_settled(&self) -> bool {
        self.hosts.values().all(|page| page.answered)
    }

    fn networks(&self) -> Vec<IpNet> {
        let single =
            self.hosts.values().flat_map(|page| page.addrs.keys().copied().map(IpNet::from));
        single.chain(self.networks.iter().copied()).collect()
    }

    fn names(&self) -> BTreeMap<IpAddr, Arc<str>> {
        let mut names = BTreeMap::new();
        for (host, page) in &self.hosts {
            for addr in page.addrs.keys() {
                names.entry(*addr).or_insert_with(|| Arc::clone(host));
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::helper::Helper;

    const ADDR: &str = "192.0.2.1";

    #[tokio::test]
    async fn a_host_given_as_an_address_is_a_target_of_its_own() {
        let drain = Drain::new();
        let targets = Targets::new(Resolver::new(Helper::in_process()), Arc::new(crate::clock::System));
        let (_wants, following) = watch::channel(Arc::new(wanted(&[ADDR], &["198.51.100.0/24"])));
        let (applied, mut sets) = tokio::sync::mpsc::unbounded_channel();
        let (keeper, signal) = (targets.clone(), drain.clone());
        let keeping = drain.spawn(async move {
            keeper.keep(following, |nets| drop(applied.send(nets.to_vec())), signal).await;
        });
        targets.settled().await;
        assert_eq!(targets.host(ADDR.parse().unwrap()).as_deref(), Some(ADDR));
        let mut last = Vec::new();
        while let Ok(set) = sets.try_recv() {
            last = set;
        }
        assert_eq!(last.len(), 2);
        drain.signal();
        keeping.await.unwrap();
    }

    fn start() -> Instant {
        crate::clock::System.now().mono
    }

    fn wanted(hosts: &[&str], networks: &[&str]) -> Wanted {
        Wanted {
            hosts: hosts.iter().map(|host| Arc::from(*host)).collect(),
            networks: networks.iter().map(|net| net.parse().unwrap()).collect(),
        }
    }

    fn answer(addrs: &[&str], seconds: u64) -> Answer {
        let addrs = addrs.iter().map(|addr| addr.parse().unwrap()).collect();
        Answer { addrs, ttl: Duration::from_secs(seconds) }
    }

    #[test]
    fn a_host_is_asked_for_once_until_it_is_answered() {
        let (mut book, now) = (Book::default(), start());
        book.want(&wanted(&["a", "b"], &[]));
        assert_eq!(book.due(now).len(), 2);
        assert!(book.due(now).is_empty());
        assert!(!book.is_settled());
        assert!(book.answered("a", Some(answer(&[ADDR], 30)), now));
        assert!(!book.answered("b", None, now));
        assert!(book.is_settled());
        assert_eq!(book.next_due(), Some(now + RETRY));
    }

    #[test]
    fn answers_are_asked_for_again_within_bounds() {
        let (mut book, now) = (Book::default(), start());
        book.want(&wanted(&["a"], &[]));
        for (ttl, after) in [(0, SOONEST), (30, Duration::from_secs(30)), (86_400, LATEST)] {
            book.answered("a", Some(answer(&[ADDR], ttl)), now);
            assert_eq!(book.next_due(), Some(now + after));
        }
    }

    #[test]
    fn addresses_outlive_their_answer_by_the_grace() {
        let (mut book, now) = (Book::default(), start());
        book.want(&wanted(&["a"], &["198.51.100.0/24"]));
        book.answered("a", Some(answer(&[ADDR], 30)), now);
        assert!(book.answered("a", Some(answer(&["192.0.2.2"], 30)), now));
        assert_eq!(book.networks().len(), 3);
        let (soon, later) = (now + GRACE / 2, now + GRACE);
        book.answered("a", Some(answer(&[ADDR], 30)), soon);
        assert!(book.expire(later));
        assert_eq!(
            book.networks(),
            ["192.0.2.1/32".parse().unwrap(), "198.51.100.0/24".parse().unwrap()]
        );
        assert!(!book.expire(later));
    }

    #[test]
    fn mapped_answers_and_shared_addresses_have_one_name() {
        let (mut book, now) = (Book::default(), start());
        book.want(&wanted(&["b", "a"], &[]));
        book.answered("b", Some(answer(&[ADDR], 30)), now);
        book.answered("a", Some(answer(&["::ffff:192.0.2.1"], 30)), now);
        assert_eq!(
            book.names().into_iter().collect::<Vec<_>>(),
            [(ADDR.parse().unwrap(), "a".into())]
        );
    }

    #[test]
    fn what_is_no_longer_wanted_goes_at_once() {
        let (mut book, now) = (Book::default(), start());
        book.want(&wanted(&["a", "b"], &[]));
        book.answered("a", Some(answer(&[ADDR], 30)), now);
        book.want(&wanted(&["b"], &[]));
        assert!(book.networks().is_empty() && book.names().is_empty());
        assert!(!book.answered("a", Some(answer(&[ADDR], 30)), now), "an answer that comes late");
    }

    #[test]
    fn addresses_of_one_host_are_bounded() {
        let (mut book, now) = (Book::default(), start());
        book.want(&wanted(&["a"], &[]));
        for n in 0..PER_HOST + 10 {
            let addr = std::net::Ipv4Addr::from_bits(0xc000_0200 + u32::try_from(n).unwrap());
            let ms = Duration::from_millis(n.try_into().unwrap());
            book.answered("a", Some(answer(&[&addr.to_string()], 30)), now + ms);
        }
        assert_eq!(book.networks().len(), PER_HOST);
        assert!(!book.names().contains_key(&"192.0.2.0".parse().unwrap()), "the oldest went");
    }
}
