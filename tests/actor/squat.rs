//! Somebody who listens where another wants to.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, Result};

use crate::args::Args;

/// Listens `at` until it is ended.
pub(crate) fn run(args: &Args) -> Result<()> {
    let at: SocketAddr = args.one("at")?.context("at=")?;
    let _squatter = TcpListener::bind(at)?;
    loop {
        std::thread::park();
    }
}
