//! A client that opens and closes connections, many times: for measuring what that costs.

use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::args::Args;

/// Connects to `to` as many `times`; tells how often that was refused.
pub(crate) fn run(args: &Args) -> Result<Value> {
    let to: SocketAddr = args.one("to")?.context("to=")?;
    let times: u32 = args.one("times")?.context("times=")?;
    let refused = (0..times).filter(|_| TcpStream::connect(to).is_err()).count();
    Ok(json!({ "refused": refused }))
}
