//! A client that only asks the C library for addresses.

use std::net::ToSocketAddrs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::args::Args;

/// Looks up `name`; tells its addresses in the order in which they are to be tried.
pub(crate) fn run(args: &Args) -> Result<Value> {
    let name = args.find("name").context("name=")?;
    let addrs = (name, 443).to_socket_addrs().with_context(|| name.to_owned())?;
    let addrs: Vec<String> = addrs.map(|addr| addr.ip().to_string()).collect();
    Ok(json!({ "addrs": addrs }))
}
