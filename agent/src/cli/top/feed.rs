//! Asks the agent in the background: keys never wait for an answer, and an agent that is gone is
//! looked for until it is back.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, ToSpan};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::super::client::Client;
use super::super::when::midnight;
use super::super::{Ctx, Exit, Fault};
use super::data::{News, Part, Snapshot};
use super::tab::Tab;
use crate::admin::breakers::Breakers;
use crate::admin::budgets::{BudgetQuery, Budgets};
use crate::admin::calls::{CallQuery, Calls};
use crate::admin::processes::{ProcessQuery, Processes};
use crate::admin::spend::{Dimension, Spend, SpendQuery};
use crate::clock::{Clock, System};
use crate::record::CallId;

/// An agent that takes longer is as good as gone.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks for an agent that is gone.
const RETRY: Duration = Duration::from_secs(1);
/// Calls shown, the newest.
const CALLS: u32 = 500;

/// What is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) tab: Tab,
    pub(super) every: Duration,
    pub(super) paused: bool,
}

/// Where questions come from, and where answers go.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) ctx: Arc<Ctx>,
    pub(super) wanted: watch::Receiver<Wanted>,
    /// Calls that everything is to be told about.
    pub(super) calls: mpsc::Receiver<CallId>,
    /// Bounded: what is not looked at is not asked for.
    pub(super) news: mpsc::Sender<News>,
}

impl Feed {
    /// Asks until nobody wants to know any more.
    pub(super) async fn run(mut self) {
        loop {
            let lost = match Client::connect(&self.ctx).await {
                Ok(client) => match self.serve(client).await {
                    Ok(()) => return,
                    Err(lost) => lost,
                },
                Err(lost) => lost,
            };
            let why = match lost.downcast_ref::<Fault>() {
                Some(fault) => fault.what.clone(),
                None => format!("the agent has gone ({lost:#})"),
            };
            if self.news.send(News::Lost(why)).await.is_err() {
                return;
            }
            tokio::select! {
                () = sleep(RETRY) => {}
                () = self.news.closed() => return,
            }
        }
    }

    /// Asks one agent for as long as it answers; `Ok` is that nobody wants to know any more.
    async fn serve(&mut self, mut client: Client) -> anyhow::Result<()> {
        loop {
            let wanted = *self.wanted.borrow_and_update();
            if !wanted.paused {
                let snapshot = timeout(PATIENCE, snapshot(&mut client, wanted.tab, &self.ctx));
                let snapshot = snapshot.await.map_err(|_| slow())??;
                if self.news.send(News::Snapshot(Box::new(snapshot))).await.is_err() {
                    return Ok(());
                }
            }
            tokio::select! {
                () = sleep(wanted.every), if !wanted.paused => {}
                changed = self.wanted.changed() => if changed.is_err() {
                    return Ok(());
                },
                call = self.calls.recv() => match call {
                    None => return Ok(()),
                    Some(id) => self.tell(&mut client, id).await?,
                },
            }
        }
    }

    async fn tell(&self, client: &mut Client, id: CallId) -> anyhow::Result<()> {
        let path = format!("/api/calls/{id}");
        let answer = timeout(PATIENCE, client.get(&path, &())).await.map_err(|_| slow())?;
        // A call that is not known is an answer; an agent that is gone shows with the next one.
        let answer = answer.map(Box::new).map_err(|wrong| format!("{wrong:#}"));
        // Nobody to tell is noticed by whoever sends next.
        drop(self.news.send(News::Call(answer)).await);
        Ok(())
    }
}

fn slow() -> anyhow::Error {
    let what = format!("the agent did not answer within {} s", PATIENCE.as_secs());
    Fault { exit: Exit::NoDaemon, what, fix: None }.into()
}

async fn snapshot(client: &mut Client, tab: Tab, ctx: &Ctx) -> anyhow::Result<Snapshot> {
    let at = System.now();
    let now = Timestamp::try_from(at.wall).unwrap_or_default();
    let status = client.get("/api/status", &()).await?;
    let part = match tab {
        Tab::Processes => {
            let since = now.checked_sub(SignedDuration::from_hours(24)).ok();
            let query = ProcessQuery { since, ..ProcessQuery::default() };
            Part::Processes(client.get::<Processes>("/api/processes", &query).await?.rows)
        }
        Tab::Models => {
            let query = SpendQuery {
                since: Some(midnight(now, &ctx.zone, 0.days())?),
                by: vec![Dimension::Provider, Dimension::Model],
                ..SpendQuery::default()
            };
            Part::Models(client.get::<Spend>("/api/spend", &query).await?.rows)
        }
        Tab::Calls => {
            let query = CallQuery { last: Some(CALLS), ..CallQuery::default() };
            Part::Calls(client.get::<Calls>("/api/calls", &query).await?.rows)
        }
        Tab::Budgets => {
            let answer: Budgets = client.get("/api/budgets", &BudgetQuery::default()).await?;
            Part::Budgets { rows: answer.rows, only_uid: answer.only_uid }
        }
        Tab::Breakers => Part::Breakers(client.get::<Breakers>("/api/breakers", &()).await?.rows),
        Tab::Health => Part::Health,
    };
    Ok(Snapshot { at, status, part })
}
