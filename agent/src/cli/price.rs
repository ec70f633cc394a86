//! `weir price`: what models cost.

use std::io::Write;

use clap::Subcommand;

use super::client::Client;
use super::table::{Column, Table};
use super::text::{clean, count, usd};
use super::{Ctx, Exit};
use crate::admin::money::Usd;
use crate::admin::prices::{PriceQuery, PriceRow, Prices, UnknownPrices};

/// What models cost, in dollars per million tokens.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// All prices of one model
    Show {
        /// The model, or PROVIDER/MODEL
        model: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// All models with a price
    List {
        /// Only of this provider
        #[arg(long)]
        provider: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Models in use that have no price
    Unknown {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    match &args.what {
        What::Show { model, json } => show(model, *json, ctx),
        What::List { provider, json } => {
            let prices = prices(&PriceQuery { provider: provider.clone(), model: None }, ctx)?;
            if *json {
                ctx.json(&prices)?;
            } else {
                table(&prices, ctx)?;
            }
            Ok(Exit::Ok)
        }
        What::Unknown { json } => unknown(*json, ctx),
    }
}

fn prices(query: &PriceQuery, ctx: &Ctx) -> anyhow::Result<Prices> {
    ctx.block_on(async { Client::connect(ctx).await?.get("/api/prices", query).await })
}

fn show(model: &str, json: bool, ctx: &Ctx) -> anyhow::Result<Exit> {
    let whole = PriceQuery { provider: None, model: Some(model.to_owned()) };
    let mut found = prices(&whole, ctx)?;
    // Models have slashes in their names too: only what is unknown as a whole is taken apart.
    if let Some((provider, model)) = model.split_once('/').filter(|_| found.rows.is_empty()) {
        let parts =
            PriceQuery { provider: Some(provider.to_owned()), model: Some(model.to_owned()) };
        found = prices(&parts, ctx)?;
    }
    let exit = if found.rows.is_empty() { Exit::Failure } else { Exit::Ok };
    if json {
        ctx.json(&found)?;
        return Ok(exit);
    }
    if found.rows.is_empty() {
        anyhow::bail!("{model} has no price; set one under `prices:` (weir config schema)");
    }
    for price in &found.rows {
        details(price, ctx)?;
    }
    if let Some(version) = &found.version {
        writeln!(ctx.out(), "catalogue of {}", clean(version))?;
    }
    Ok(exit)
}

fn details(price: &PriceRow, ctx: &Ctx) -> anyhow::Result<()> {
    let mut out = ctx.out();
    let name = format!("{}/{}", price.provider, price.model);
    let from = price.from.as_ref().map(|day| format!(", from {day}")).unwrap_or_default();
    writeln!(out, "{} ({})", ctx.bold(&clean(&name)), clean(&format!("{}{from}", price.source)))?;
    let kinds = [
        ("input", price.input_usd),
        ("cache read", price.cache_read_usd),
        ("cache write 5m", price.cache_write_5m_usd),
        ("cache write 1h", price.cache_write_1h_usd),
        ("output", price.output_usd),
        ("reasoning", price.reasoning_usd),
        ("audio input", price.audio_input_usd),
        ("audio output", price.audio_output_usd),
    ];
    for (kind, amount) in kinds {
        if let Some(amount) = amount {
            writeln!(out, "  {kind:<14}  {:>10} per million tokens", format!("${amount}"))?;
        }
    }
    if let Some(note) = &price.note {
        writeln!(out, "  {}", clean(note))?;
    }
    Ok(())
}

fn table(prices: &Prices, ctx: &Ctx) -> anyhow::Result<()> {
    let mut table = Table::new([
        Column::Word("PROVIDER"),
        Column::Name("MODEL"),
        Column::Figure("INPUT"),
        Column::Figure("CACHED"),
        Column::Figure("OUTPUT"),
        Column::Word("SOURCE"),
    ]);
    let shown = |amount: Option<Usd>| amount.map_or_else(|| "-".to_owned(), usd);
    for price in &prices.rows {
        table.row([
            price.provider.clone(),
            price.model.clone(),
            shown(price.input_usd),
            shown(price.cache_read_usd),
            shown(price.output_usd),
            price.source.clone(),
        ]);
    }
    let mut out = ctx.out();
    for line in table.lines(ctx.width) {
        writeln!(out, "{line}")?;
    }
    if let Some(version) = &prices.version {
        writeln!(out, "\ndollars per million tokens; catalogue of {}", clean(version))?;
    }
    Ok(())
}

fn unknown(json: bool, ctx: &Ctx) -> anyhow::Result<Exit> {
    let unknown: UnknownPrices =
        ctx.block_on(async { Client::connect(ctx).await?.get("/api/prices/unknown", &()).await })?;
    if json {
        ctx.json(&unknown)?;
        return Ok(Exit::Ok);
    }
    let mut out = ctx.out();
    if unknown.rows.is_empty() {
        writeln!(out, "every model in use has a price")?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new([
        Column::Word("PROVIDER"),
        Column::Name("MODEL"),
        Column::Figure("CALLS"),
        Column::Figure("WITHOUT USAGE"),
    ]);
    for row in &unknown.rows {
        table.row([
            row.provider.clone(),
            row.model.clone().unwrap_or_else(|| "-".to_owned()),
            count(row.calls),
            count(row.unknown_usage),
        ]);
    }
    for line in table.lines(ctx.width) {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "\nset their prices under `prices:` in the configuration")?;
    Ok(Exit::Ok)
}
