//! A client that opens and closes connections, many times: for measuring what that costs.

use std::io;
use std::net::{SocketAddr, TcpStream, UdpSocket};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::args::Args;

/// Connects to `to` as many `times`, or with `how=udp` sends a datagram there from a connected socket;
/// tells how often that was refused.
pub(crate) fn run(args: &Args) -> Result<Value> {
    let to: SocketAddr = args.one("to")?.context("to=")?;
    let times: u32 = args.one("times")?.context("times=")?;
    let knock = || match args.find("how") {
        Some("udp") => send(to),
        _ => TcpStream::connect(to).map(drop),
    };
    let refused = (0..times).filter(|_| knock().is_err()).count();
    Ok(json!({ "refused": refused }))
}

fn send(to: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(to)?;
    socket.send(b"knock").map(drop)
}
