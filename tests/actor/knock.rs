//! A client that opens and closes connections, many times: for measuring what that costs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::args::Args;

/// Connects to `to` as many `times`; with `how=leave` it does not wait for that to be done, with `how=udp`
/// it sends a datagram there from a connected socket. Tells how often that was refused, and the last error's
/// number.
pub(crate) fn run(args: &Args) -> Result<Value> {
    let to: SocketAddr = args.one("to")?.context("to=")?;
    let times: u32 = args.one("times")?.context("times=")?;
    let knock = |number: u32| match args.find("how") {
        Some("udp") => send(to),
        Some("leave") => leave(to, number),
        _ => TcpStream::connect(to).map(drop),
    };
    let refused: Vec<io::Error> = (0..times).filter_map(|number| knock(number).err()).collect();
    let error = refused.last().and_then(io::Error::raw_os_error);
    Ok(json!({ "refused": refused.len(), "error": error }))
}

fn send(to: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(to)?;
    socket.send(b"knock").map(drop)
}

/// Goes away again, whatever has become of it: also one that is not taken in was redirected. From many
/// addresses of the loopback, so that no two have the same.
fn leave(to: SocketAddr, number: u32) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    let from = Ipv4Addr::from(Ipv4Addr::LOCALHOST.to_bits() + 1 + number % 200);
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        other => other,
    }
}
