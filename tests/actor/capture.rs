//! An agent's kernel half in a process that can be killed or stopped.
#![expect(clippy::print_stdout, reason = "the answer")]

use std::io::Write;
use std::path::PathBuf;

use agent::capture::{Capture, Helper, Settings};
use agent::drain::Drain;
use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::args::Args;
use crate::dial;

/// Captures `targets` in `of`, says so, dials `to` itself where that is given, and answers
/// redirected clients until it is killed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let drain = Drain::new();
        let cgroup = PathBuf::from(args.find("of").context("of=")?);
        let settings = Settings { cgroup: Some(cgroup), ..Settings::default() };
        let capture = Capture::attach(&settings, &Helper::in_process(), &drain)?;
        ensure!(capture.capabilities().complete(), "{:#?}", capture.capabilities());
        capture.targets(&args.list::<IpNet>("targets")?)?;
        for listener in capture.listeners()? {
            drain.spawn(serve(TcpListener::from_std(listener)?));
        }
        capture.redirect(true)?;
        println!("ready");
        std::io::stdout().flush()?;
        if args.find("to").is_some() {
            println!("{}", tokio::task::block_in_place(|| dial::run(args))?);
            return Ok(());
        }
        std::future::pending().await
    })
}

async fn serve(listener: TcpListener) {
    while let Ok((mut socket, _)) = listener.accept().await {
        if socket.read_exact(&mut [0; 5]).await.is_ok() {
            drop(socket.write_all(b"weir").await);
        }
    }
}
