//! Which addresses are wanted: what the provider hosts resolve to for us, what name servers tell the
//! processes of this machine about them, and configured networks.
//!
//! An address is a hint, not a proof: content networks serve many names from one address, and an
//! answer on its way to somebody else may be a lie. What arrives is asked for its name (SNI) and passed
//! through where it is none of ours. What was only overheard never takes room from what we asked for
//! ourselves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use agent_common::Addr;
use arc_swap::ArcSwap;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::dns::{self, Learned};
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
/// An address that was overheard stays wanted for its time to live within these bounds, and for the
/// second of the constants below it longer.
const OVERHEARD: (Duration, Duration) = (Duration::from_hours(1), Duration::from_hours(24));
const LINGER: Duration = Duration::from_mins(10);
/// Addresses kept that were only overheard, of all hosts. With it the kernel's table still has room
/// for everything that we asked for.
const OVERHEARD_IN_ALL: usize = 4096;

/// What to capture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Host names of providers.
    pub hosts: BTreeSet<Arc<str>>,
    /// Networks beside them.
    pub networks: BTreeSet<IpNet>,
}

/// The wanted hosts behind each address, in alphabetical order.
type Names = BTreeMap<IpAddr, Vec<Arc<str>>>;

/// Follows the wanted hosts to their addresses. Clones share one state.
#[derive(Debug, Clone)]
pub struct Targets {
    resolver: Resolver,
    clock: Arc<dyn Clock>,
    book: Arc<Mutex<Book>>,
    names: Arc<ArcSwap<Names>>,
    overheard: Arc<Notify>,
    dropped: Arc<AtomicU64>,
    settled: watch::Sender<bool>,
}

impl Targets {
    /// Nothing followed yet.
    pub fn new(resolver: Resolver, clock: Arc<dyn Clock>) -> Self {
        Self {
            resolver,
            clock,
            book: Arc::default(),
            names: Arc::default(),
            overheard: Arc::default(),
            dropped: Arc::default(),
            settled: watch::Sender::new(false),
        }
    }

    /// Takes in a packet that a name server sent to a process of this machine (from its IP header on).
    /// Addresses that it makes wanted are handed to `add` at once: whoever asked is about to connect.
    pub fn overhear(&self, packet: &[u8], add: impl Fn(&[IpAddr])) {
        let now = self.clock.mono();
        // Held while the kernel is told, so that a whole set made before this is not applied after it.
        let mut book = self.book.lock();
        let known = |host: &str| book.hosts.get_key_value(host).map(|(host, _)| Arc::clone(host));
        for learned in dns::learn(packet, known) {
            let heard = book.overheard(&learned, now);
            self.dropped.fetch_add(heard.dropped, Relaxed);
            if !heard.new.is_empty() {
                tracing::debug!(host = %learned.host, addrs = ?heard.new, "overheard");
                add(&heard.new);
                self.overheard.notify_one();
            }
        }
    }

    /// How many overheard addresses were dropped because there were too many.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// The wanted hosts that an address belongs to, in alphabetical order: several where they share
    /// it, and then a connection that nobody looked into may have been to any of them.
    pub fn hosts(&self, addr: IpAddr) -> Vec<Arc<str>> {
        self.names.load().get(&addr.to_canonical()).cloned().unwrap_or_default()
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
        let mut asked = FuturesUnordered::new();
        self.book.lock().want(&wanted.borrow_and_update());
        let mut changed = true;
        // Ends with whoever tells what is wanted; what is followed then, is followed on.
        let mut told = true;
        loop {
            let now = self.clock.mono();
            let pause = {
                let mut book = self.book.lock();
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
                book.next_due().map_or(LATEST, |at| at.saturating_duration_since(now))
            };
            tokio::select! {
                () = drain.signalled() => return,
                Some((host, answer)) = asked.next(), if !asked.is_empty() => {
                    let now = self.clock.mono();
                    changed = self.book.lock().answered(&host, answer, now);
                }
                news = wanted.changed(), if told => {
                    told = news.is_ok();
                    changed = told;
                    self.book.lock().want(&wanted.borrow_and_update());
                }
                // The kernel knows already; its table is put in order, and the names follow.
                () = self.overheard.notified() => changed = true,
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
    /// The same of those that were overheard, whether or not they are among the others.
    overheard: BTreeMap<IpAddr, Instant>,
    /// When to ask again; `None` for at once.
    due: Option<Instant>,
    asked: bool,
    answered: bool,
}

/// What became of an answer that was overheard.
#[derive(Debug, Default)]
struct Heard {
    /// Addresses that were not wanted before.
    new: Vec<IpAddr>,
    /// Addresses for which there was no room, or that had to make room.
    dropped: u64,
}

impl Page {
    fn is_wanted(&self, addr: IpAddr) -> bool {
        self.addrs.contains_key(&addr) || self.overheard.contains_key(&addr)
    }

    fn all(&self) -> impl Iterator<Item = IpAddr> {
        let only = self.overheard.keys().filter(|addr| !self.addrs.contains_key(addr));
        self.addrs.keys().chain(only).copied()
    }

    fn len(&self) -> usize {
        self.all().count()
    }
}

/// The one that runs out first.
fn oldest(addrs: &BTreeMap<IpAddr, Instant>) -> Option<IpAddr> {
    addrs.iter().min_by_key(|(_, until)| **until).map(|(addr, _)| *addr)
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
        while page.addrs.len() > PER_HOST
            && let Some(oldest) = oldest(&page.addrs)
        {
            page.addrs.remove(&oldest);
        }
        new
    }

    /// Takes in an answer given to somebody else.
    fn overheard(&mut self, learned: &Learned, now: Instant) -> Heard {
        let mut heard = Heard::default();
        let mut in_all: usize = self.hosts.values().map(|page| page.overheard.len()).sum();
        let Some(page) = self.hosts.get_mut(&learned.host) else { return heard };
        let until = now + learned.ttl.clamp(OVERHEARD.0, OVERHEARD.1) + LINGER;
        for addr in &learned.addrs {
            let addr = addr.to_canonical();
            // The programs leave those alone whatever they are told.
            if Addr::from(addr).is_untouchable() {
                continue;
            }
            if page.overheard.len() >= PER_HOST || in_all >= OVERHEARD_IN_ALL {
                let known = page.overheard.contains_key(&addr);
                if !known {
                    heard.dropped += 1;
                    let Some(oldest) = oldest(&page.overheard) else { continue };
                    page.overheard.remove(&oldest);
                    in_all -= 1;
                }
            }
            if !page.is_wanted(addr) {
                heard.new.push(addr);
            }
            in_all += usize::from(page.overheard.insert(addr, until).is_none());
        }
        heard
    }

    /// Drops addresses that nobody named for long; true where there were any.
    fn expire(&mut self, now: Instant) -> bool {
        let count =
            |hosts: &BTreeMap<Arc<str>, Page>| -> usize { hosts.values().map(Page::len).sum() };
        let before = count(&self.hosts);
        for page in self.hosts.values_mut() {
            page.addrs.retain(|_, until| *until > now);
            page.overheard.retain(|_, until| *until > now);
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
        let single = self.hosts.values().flat_map(|page| page.all().map(IpNet::from));
        single.chain(self.networks.iter().copied()).collect()
    }

    fn names(&self) -> Names {
        let mut names = Names::new();
        for (host, page) in &self.hosts {
            for addr in page.all() {
                names.entry(addr).or_default().push(Arc::clone(host));
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
        let targets =
            Targets::new(Resolver::new(Helper::in_process()), Arc::new(crate::clock::System));
        let (_wants, following) = watch::channel(Arc::new(wanted(&[ADDR], &["198.51.100.0/24"])));
        let (applied, mut sets) = tokio::sync::mpsc::unbounded_channel();
        let (keeper, signal) = (targets.clone(), drain.clone());
        let keeping = drain.spawn(async move {
            keeper.keep(following, |nets| drop(applied.send(nets.to_vec())), signal).await;
        });
        targets.settled().await;
        assert_eq!(targets.hosts(ADDR.parse().unwrap()), [ADDR.into()]);
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
    fn a_shared_address_has_the_names_of_all_and_a_mapped_one_is_the_same() {
        let (mut book, now) = (Book::default(), start());
        book.want(&wanted(&["b", "a"], &[]));
        book.answered("b", Some(answer(&[ADDR], 30)), now);
        book.answered("a", Some(answer(&["::ffff:192.0.2.1"], 30)), now);
        assert_eq!(
            book.names().into_iter().collect::<Vec<_>>(),
            [(ADDR.parse().unwrap(), vec!["a".into(), "b".into()])]
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

    fn overheard(host: &str, addrs: &[&str], seconds: u64) -> Learned {
        let Answer { addrs, ttl } = answer(addrs, seconds);
        Learned { host: host.into(), addrs, ttl }
    }

    #[test]
    fn what_is_overheard_is_wanted_beside_our_own_answers_and_for_longer() {
        let (mut book, now) = (Book::default(), start());
        book.want(&wanted(&["a"], &[]));
        book.answered("a", Some(answer(&[ADDR], 30)), now);
        let heard = book.overheard(&overheard("a", &[ADDR, "::ffff:192.0.2.2"], 30), now);
        assert_eq!(heard.new, ["192.0.2.2".parse::<IpAddr>().unwrap()]);
        assert!(book.overheard(&overheard("a", &["192.0.2.2"], 30), now).new.is_empty());
        assert_eq!(book.networks().len(), 2);
        assert_eq!(book.names().len(), 2);
        assert!(!book.expire(now + OVERHEARD.0), "an hour at least");
        assert!(book.expire(now + OVERHEARD.0 + LINGER));
        assert!(book.networks().is_empty());
        book.overheard(&overheard("a", &[ADDR], u64::from(u32::MAX)), now);
        assert!(book.expire(now + OVERHEARD.1 + LINGER), "a day at most");
        assert!(book.overheard(&overheard("b", &[ADDR], 30), now).new.is_empty(), "not wanted");
        let local = overheard("a", &["127.0.0.1", "169.254.169.254", "::1", "0.0.0.0"], 30);
        assert!(book.overheard(&local, now).new.is_empty(), "left alone anyway");
    }

    #[test]
    fn lies_take_no_room_from_our_own_answers() {
        let (mut book, now) = (Book::default(), start());
        let hosts: Vec<String> = (0..20).map(|n| format!("h{n}")).collect();
        let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
        book.want(&wanted(&names, &[]));
        book.answered("h0", Some(answer(&[ADDR], 30)), now);
        let mut dropped = 0;
        for (n, host) in hosts.iter().enumerate() {
            for m in 0..PER_HOST + 10 {
                let addr = std::net::Ipv4Addr::from_bits(
                    0x0a00_0000 + u32::try_from(n * 1000 + m).unwrap(),
                );
                let later = now + Duration::from_millis(m.try_into().unwrap());
                dropped +=
                    book.overheard(&overheard(host, &[&addr.to_string()], 30), later).dropped;
            }
        }
        assert_eq!(book.networks().len(), OVERHEARD_IN_ALL + 1);
        assert!(book.names().contains_key(&ADDR.parse().unwrap()));
        assert_eq!(dropped, u64::try_from(20 * (PER_HOST + 10) - OVERHEARD_IN_ALL).unwrap());
        assert!(!book.names().contains_key(&"10.0.0.0".parse().unwrap()), "the oldest went");
    }
}
