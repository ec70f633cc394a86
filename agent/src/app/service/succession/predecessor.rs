//! The successor's side: what it gets from the daemon that it follows.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::messages::{self, Come, Message, Open};
use crate::app::service::Sockets;
use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::pipeline::Policies;
use crate::pipeline::outstanding::Held;
use crate::policy::{Actual, Ticket};
use crate::record::{CallId, Durability, Sink};

/// How long the predecessor may take for a step.
const PATIENCE: Duration = Duration::from_secs(30);

/// The daemon at the other end of a socket, which waits to be followed.
#[derive(Debug)]
pub struct Predecessor {
    socket: OwnedFd,
}

/// What it leaves.
#[derive(Debug, Default)]
pub(in crate::app) struct Inheritance {
    held: Vec<Held>,
    open: Vec<Open>,
    counted: String,
}

impl Predecessor {
    /// At the other end of this.
    pub fn at(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Tells it that it is not followed, and why.
    pub fn fail(&self, why: &str) {
        // Where it is gone, it does not matter to it.
        drop(messages::send(&self.socket, &Message::Failed(why.to_owned()), &[]));
    }

    /// Its listeners, and its program at connect(2). Blocks.
    pub(in crate::app) fn welcome(&self) -> io::Result<(Sockets, Option<u32>)> {
        messages::patience(&self.socket, Some(PATIENCE))?;
        match messages::receive(&self.socket)? {
            Some(Come::Message(Message::Welcome { program, names }, fds)) => {
                // What it left for one that came too late.
                if !messages::is_there(&self.socket)? {
                    return Err(messages::unexpected(None));
                }
                let named = names.into_iter().zip(fds);
                Ok((Sockets::of(named), program))
            }
            come => Err(messages::unexpected(come.as_ref())),
        }
    }

    /// Says that everything is made, and waits until the predecessor has let go. Blocks.
    pub(in crate::app) fn inherit(&self) -> io::Result<Inheritance> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let ready = Message::Ready { version, pid: std::process::id() };
        messages::send(&self.socket, &ready, &[])?;
        let mut inheritance = Inheritance::default();
        loop {
            match messages::receive(&self.socket)? {
                Some(Come::Message(Message::Held(some), _)) => inheritance.held.extend(some),
                Some(Come::Message(Message::Counted(text), _)) => inheritance.counted = text,
                Some(Come::Message(Message::State { open }, _)) => {
                    inheritance.open = open;
                    return Ok(inheritance);
                }
                come => return Err(messages::unexpected(come.as_ref())),
            }
        }
    }

    /// Says that it is followed, and takes in what its last calls come to until it ends.
    pub(in crate::app) fn follow(
        self: Arc<Self>,
        tickets: Tickets,
        (ledger, policies, metrics): (Arc<Ledger>, Arc<Policies>, Arc<Metrics>),
        (sink, clock): (Arc<dyn Sink>, Arc<dyn Clock>),
    ) -> io::Result<()> {
        messages::send(&self.socket, &Message::Took, &[])?;
        messages::patience(&self.socket, None)?;
        let mut last = Last { tickets, ledger, policies, metrics, sink, clock };
        let run = move || {
            if let Err(error) = last.take(&self.socket) {
                tracing::error!(%error, "the predecessor's last calls");
            }
            last.end();
        };
        std::thread::Builder::new().name("weir-inherit".to_owned()).spawn(run).map(drop)
    }
}

/// What is reserved for the predecessor's calls, in our limits.
pub(in crate::app) type Tickets = HashMap<CallId, (Ticket, Held)>;

impl Inheritance {
    /// Takes over what limits and breakers have to know of. Blocks on the ledger, which has been
    /// taken over before.
    pub(in crate::app) fn adopt(
        self,
        ledger: &Ledger,
        (policies, metrics): (&Policies, &Metrics),
        clock: &dyn Clock,
    ) -> Tickets {
        let now = clock.now();
        metrics.go_on(&self.counted);
        for open in self.open {
            policies.reliability.lock().adopt(&open.name, (open.until, open.reason), now);
        }
        let reader = ledger.reader();
        let mut tickets = Tickets::new();
        for held in self.held {
            // It may have ended in the moment between.
            let settled = reader.call(held.call_id);
            if settled.is_ok_and(|found| found.is_some_and(|it| it.row.outcome.is_some())) {
                continue;
            }
            let ticket = policies.engine.lock().adopt(&held.spent, now);
            tickets.insert(held.call_id, (ticket, held));
        }
        tickets
    }
}

/// The predecessor's last calls.
struct Last {
    tickets: Tickets,
    ledger: Arc<Ledger>,
    policies: Arc<Policies>,
    metrics: Arc<Metrics>,
    sink: Arc<dyn Sink>,
    clock: Arc<dyn Clock>,
}

impl Last {
    fn take(&mut self, socket: &OwnedFd) -> io::Result<()> {
        while let Some(come) = messages::receive(socket)? {
            match come {
                Come::Records(lines) => {
                    let durability = self.ledger.keep(&lines).blocking_recv();
                    let kept = durability == Ok(Durability::Kept);
                    messages::send(socket, &Message::Kept(kept), &[])?;
                }
                Come::Message(Message::Settled(settled), _) => {
                    if let Some((ticket, _)) = self.tickets.remove(&settled.call_id) {
                        self.settle(settled.call_id, ticket, &settled.actual());
                    }
                }
                Come::Message(Message::Counted(text), _) => self.metrics.go_on(&text),
                other @ Come::Message(..) => return Err(messages::unexpected(Some(&other))),
            }
        }
        Ok(())
    }

    /// What nobody told the end of stays as it was reserved: no unknown is a zero.
    fn end(&mut self) {
        for (call_id, (ticket, held)) in std::mem::take(&mut self.tickets) {
            let actual = Actual { sent: true, tokens: held.spent.tokens, cost: None, failed: true };
            self.settle(call_id, ticket, &actual);
        }
        tracing::info!("the predecessor has ended");
    }

    fn settle(&self, call_id: CallId, ticket: Ticket, actual: &Actual) {
        let notices = self.policies.engine.lock().settle(ticket, actual, self.clock.now());
        for notice in notices {
            let call_id = notice.call_id.or(Some(call_id));
            self.sink.notice(crate::record::Notice { call_id, ..notice });
        }
    }
}
