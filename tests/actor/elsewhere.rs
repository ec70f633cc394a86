//! A client in a network namespace of its own, where no agent listens, beside a server that has the
//! address it wants.
#![expect(unsafe_code, reason = "unshare takes the word")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::args::Args;
use crate::dial;

pub(crate) fn run(args: &Args) -> Result<Value> {
    // SAFETY: no other thread yet; nothing here rests on the namespace it came from.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET)? };
    let to: SocketAddr = args.one("to")?.context("to=")?;
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
    let batch = format!("link set lo up\naddr add {}/32 dev lo\n", to.ip());
    ip.stdin.take().context("stdin")?.write_all(batch.as_bytes())?;
    ensure!(ip.wait()?.success(), "ip failed");

    let server = TcpListener::bind(to)?;
    let serving = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut socket, _) = server.accept()?;
        socket.read_exact(&mut [0; 5])?;
        socket.write_all(b"direct")
    });
    let report = dial::run(args)?;
    serving.join().ok().context("the server panicked")??;
    Ok(report)
}
