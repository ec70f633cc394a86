//! `weir webhook`: what people were told, and whether a channel works.

use std::io::Write;
use std::time::Duration;

use clap::Subcommand;

use super::client::Client;
use super::table::{Column, Table};
use super::text::{clean, count, date_time};
use super::{Ctx, Exit};
use crate::admin::alerts::{Deliveries, DeliveryQuery, DeliveryRow, DeliveryStatus};

/// Webhooks and the other channels of alerts.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What was sent, and what came of it
    History {
        /// Only to this channel
        #[arg(long, value_name = "NAME")]
        channel: Option<String>,
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

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Word {
    /// Waiting for an attempt
    Queued,
    /// Taken by the receiver
    Delivered,
    /// Given up
    Dead,
}

impl From<Word> for DeliveryStatus {
    fn from(word: Word) -> Self {
        match word {
            Word::Queued => Self::Queued,
            Word::Delivered => Self::Delivered,
            Word::Dead => Self::Dead,
        }
    }
}

/// Between two looks at a test.
const LOOK: Duration = Duration::from_millis(100);
/// Looks: a little longer than one attempt may take.
const LOOKS: u32 = 200;

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    match &args.what {
        What::History { channel, status, last, json } => {
            let query = DeliveryQuery {
                channel: channel.clone(),
                status: status.map(DeliveryStatus::from),
                last: Some(*last),
                ..DeliveryQuery::default()
            };
            history(&query, *json, ctx)
        }
        What::Test { name, json } => test(name, *json, ctx),
    }
}

fn history(query: &DeliveryQuery, json: bool, ctx: &Ctx) -> anyhow::Result<Exit> {
    let path = "/api/webhooks/history";
    let found: Deliveries =
        ctx.block_on(async { Client::connect(ctx).await?.get(path, query).await })?;
    if json {
        ctx.json(&found)?;
        return Ok(Exit::Ok);
    }
    let mut out = ctx.out();
    if found.rows.is_empty() {
        writeln!(out, "nothing was sent")?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new([
        Column::Word("AT"),
        Column::UpTo("CHANNEL", 12),
        Column::Word("STATUS"),
        Column::Figure("TRIES"),
        Column::Word("TOPIC"),
        Column::Name("POLICY"),
    ]);
    for row in &found.rows {
        table.row([
            date_time(row.at, &ctx.zone),
            row.channel.clone(),
            row.status.to_string(),
            count(u64::from(row.attempts)),
            row.topic.clone(),
            row.policy.clone(),
        ]);
    }
    let mut lines = table.lines(ctx.width).into_iter();
    if let Some(head) = lines.next() {
        writeln!(out, "{head}")?;
    }
    for (line, row) in lines.zip(&found.rows) {
        writeln!(out, "{line}")?;
        if row.status != DeliveryStatus::Delivered
            && let Some(error) = &row.error
        {
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
