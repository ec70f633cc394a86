//! `weir webhook`: what people were told, what was posted to webhooks, and whether a channel works.

use std::io::Write;
use std::time::Duration;

use clap::Subcommand;
use jiff::Timestamp;
use serde::Serialize;

use super::client::Client;
use super::table::{Column, Table};
use super::text::{clean, count, date_time};
use super::{Ctx, Exit};
use crate::admin::SCHEMA_VERSION;
use crate::admin::alerts::{Deliveries, DeliveryQuery, DeliveryRow, DeliveryStatus};
use crate::admin::webhooks::{RunQuery, RunRow, RunStatus, Runs};

/// Webhooks and the other channels of alerts.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What was sent and what was posted to webhooks, and what came of it
    History {
        /// Only to this channel, or this webhook
        #[arg(long, value_name = "NAME")]
        channel: Option<String>,
        /// Only what was posted to webhooks, or what was sent
        #[arg(long, value_enum)]
        direction: Option<Direction>,
        /// Only in this state; `dead` are those that were given up
        #[arg(long, value_enum)]
        status: Option<Word>,
        /// The last so many
        #[arg(long, value_name = "N", default_value_t = 50)]
        last: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Send a channel a message, and wait until it has arrived or failed
    Test {
        /// The channel's name under `alerts.channels`
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Direction {
    /// Posted to a webhook
    Inbound,
    /// Sent to a channel
    Outbound,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Word {
    /// Waiting: for an attempt, or for its turn
    Queued,
    /// Sent, and taken by the receiver
    Delivered,
    /// Sent, or to be posted back, and given up
    Dead,
    /// Posted here: the model is being asked
    Running,
    /// Posted here: the model answered
    Ok,
    /// Posted here: a policy refused the call
    Refused,
    /// Posted here: the call failed
    Failed,
    /// Posted here: the agent stopped during the call
    Interrupted,
}

impl Word {
    fn outbound(self) -> Option<DeliveryStatus> {
        Some(match self {
            Self::Queued => DeliveryStatus::Queued,
            Self::Delivered => DeliveryStatus::Delivered,
            Self::Dead => DeliveryStatus::Dead,
            _ => return None,
        })
    }

    fn inbound(self) -> Option<RunStatus> {
        Some(match self {
            Self::Queued => RunStatus::Queued,
            Self::Running => RunStatus::Running,
            Self::Ok => RunStatus::Ok,
            Self::Refused => RunStatus::Refused,
            Self::Failed => RunStatus::Failed,
            Self::Interrupted => RunStatus::Interrupted,
            Self::Delivered | Self::Dead => return None,
        })
    }
}

/// Between two looks at a test.
const LOOK: Duration = Duration::from_millis(100);
/// Looks: a little longer than one attempt may take.
const LOOKS: u32 = 200;

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    match &args.what {
        What::History { channel, direction, status, last, json } => {
            let asked = Asked { channel: channel.clone(), status: *status, last: *last };
            let found = ctx.block_on(async {
                let mut client = Client::connect(ctx).await?;
                let mut rows = Vec::new();
                if *direction != Some(Direction::Outbound)
                    && let Some(query) = asked.inbound()
                {
                    let found: Runs = client.get("/api/webhooks/runs", &query).await?;
                    let meant = found.rows.into_iter().filter(|row| asked.means(row));
                    rows.extend(meant.map(Row::Inbound));
                }
                if *direction != Some(Direction::Inbound)
                    && let Some(query) = asked.outbound()
                {
                    let found: Deliveries = client.get("/api/webhooks/history", &query).await?;
                    rows.extend(found.rows.into_iter().map(Row::Outbound));
                }
                Ok(rows)
            })?;
            history(found, *last, (*json, ctx))
        }
        What::Test { name, json } => test(name, *json, ctx),
    }
}

/// What is asked of both directions.
struct Asked {
    channel: Option<String>,
    status: Option<Word>,
    last: u32,
}

impl Asked {
    /// `None` where the state is one that nothing sent can be in.
    fn outbound(&self) -> Option<DeliveryQuery> {
        let status = match self.status {
            Some(word) => Some(word.outbound()?),
            None => None,
        };
        let (channel, last) = (self.channel.clone(), Some(self.last));
        Some(DeliveryQuery { channel, status, last, ..DeliveryQuery::default() })
    }

    /// `None` where the state is one that nothing posted here can be in.
    fn inbound(&self) -> Option<RunQuery> {
        let webhook = self.channel.clone();
        let (status, last) = match self.status {
            // Which of them are the last is known when the others are left out.
            Some(Word::Dead) => (None, None),
            Some(word) => (Some(word.inbound()?), Some(self.last)),
            None => (None, Some(self.last)),
        };
        Some(RunQuery { webhook, status, last, ..RunQuery::default() })
    }

    /// Whether a delivery is one that is asked for, where the agent cannot be asked that: of what
    /// was posted here it is the callback that is given up.
    fn means(&self, row: &RunRow) -> bool {
        let is_dead = |row: &RunRow| {
            row.callback.as_ref().is_some_and(|it| it.status == DeliveryStatus::Dead)
        };
        !matches!(self.status, Some(Word::Dead)) || is_dead(row)
    }
}

/// One line of the history.
#[derive(Debug, Serialize)]
#[serde(tag = "direction", rename_all = "lowercase")]
enum Row {
    Outbound(DeliveryRow),
    Inbound(RunRow),
}

#[derive(Debug, Serialize)]
struct History {
    schema_version: u32,
    rows: Vec<Row>,
}

impl Row {
    fn at(&self) -> Timestamp {
        match self {
            Self::Outbound(row) => row.at,
            Self::Inbound(row) => row.at,
        }
    }

    fn cells(&self, ctx: &Ctx) -> [String; 7] {
        let at = date_time(self.at(), &ctx.zone);
        match self {
            Self::Outbound(row) => [
                at,
                "out".to_owned(),
                row.channel.clone(),
                row.status.to_string(),
                count(u64::from(row.attempts)),
                row.topic.clone(),
                row.policy.clone(),
            ],
            Self::Inbound(row) => {
                let callback = row.callback.as_ref();
                let tries = callback.map(|callback| count(u64::from(callback.attempts)));
                let told = callback.map(|callback| match callback.status {
                    DeliveryStatus::Queued => "callback queued",
                    DeliveryStatus::Delivered => "callback sent",
                    DeliveryStatus::Dead => "callback dead",
                });
                [
                    at,
                    "in".to_owned(),
                    row.webhook.clone(),
                    row.status.to_string(),
                    tries.unwrap_or_default(),
                    told.unwrap_or_default().to_owned(),
                    row.model.clone().unwrap_or_default(),
                ]
            }
        }
    }

    /// What went wrong, where something did.
    fn errors(&self) -> Vec<&str> {
        match self {
            Self::Outbound(row) => {
                let wrong = row.status != DeliveryStatus::Delivered;
                row.error.as_deref().filter(|_| wrong).into_iter().collect()
            }
            Self::Inbound(row) => {
                let callback = row.callback.as_ref();
                let callback = callback.filter(|it| it.status != DeliveryStatus::Delivered);
                let callback = callback.and_then(|it| it.error.as_deref());
                row.error.as_deref().into_iter().chain(callback).collect()
            }
        }
    }
}

fn history(mut rows: Vec<Row>, last: u32, (json, ctx): (bool, &Ctx)) -> anyhow::Result<Exit> {
    rows.sort_by_key(Row::at);
    rows.drain(..rows.len().saturating_sub(last as usize));
    if json {
        ctx.json(&History { schema_version: SCHEMA_VERSION, rows })?;
        return Ok(Exit::Ok);
    }
    let mut out = ctx.out();
    if rows.is_empty() {
        writeln!(out, "nothing was sent or received")?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new([
        Column::Word("AT"),
        Column::Word("DIR"),
        Column::UpTo("NAME", 12),
        Column::Word("STATUS"),
        Column::Figure("TRIES"),
        Column::Word("ABOUT"),
        Column::Name("BY"),
    ]);
    for row in &rows {
        table.row(row.cells(ctx));
    }
    let mut lines = table.lines(ctx.width).into_iter();
    if let Some(head) = lines.next() {
        writeln!(out, "{head}")?;
    }
    for (line, row) in lines.zip(&rows) {
        writeln!(out, "{line}")?;
        for error in row.errors() {
            writeln!(out, "  {}", clean(error))?;
        }
    }
    Ok(Exit::Ok)
}

fn test(name: &str, json: bool, ctx: &Ctx) -> anyhow::Result<Exit> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    anyhow::ensure!(name.bytes().all(fits), "`{name}` is not a channel's name");
    let row: DeliveryRow = ctx.block_on(async {
        let mut client = Client::connect(ctx).await?;
        let path = format!("/api/webhooks/{name}/test");
        let mut row: DeliveryRow = client.put(&path, &()).await?;
        let query = DeliveryQuery { id: Some(row.id.clone()), ..DeliveryQuery::default() };
        for _ in 0..LOOKS {
            // The first failure is the answer, whether or not it is tried again.
            if row.status != DeliveryStatus::Queued || row.attempts > 0 {
                break;
            }
            tokio::time::sleep(LOOK).await;
            let found: Deliveries = client.get("/api/webhooks/history", &query).await?;
            row = found.rows.into_iter().next().unwrap_or(row);
        }
        Ok(row)
    })?;
    if json {
        ctx.json(&row)?;
    } else {
        let why = row.error.as_deref().unwrap_or("no answer yet");
        match row.status {
            DeliveryStatus::Delivered => writeln!(ctx.out(), "delivered")?,
            DeliveryStatus::Dead => anyhow::bail!("not delivered: {}", clean(why)),
            DeliveryStatus::Queued => {
                anyhow::bail!("not delivered: {}; it is tried again", clean(why));
            }
        }
    }
    let delivered = row.status == DeliveryStatus::Delivered;
    Ok(if delivered { Exit::Ok } else { Exit::Failure })
}
