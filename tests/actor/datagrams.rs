//! A client that says hello in datagrams.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

use crate::args::Args;
use crate::dial::{HELLO, PATIENCE};

/// Between two tries of who does not take no for an answer.
const PAUSE: Duration = Duration::from_millis(10);
/// Such tries: a few seconds.
const TRIES: u32 = 500;

/// Says hello to the last of `to`, as many `times`, and waits for the answer to the last one. `how`:
/// - `udp`: connects to all of them with the same socket, one after the other;
/// - `udp-silent`: the same, and then says nothing;
/// - `udp-insistent`: the same, and says hello until that is let through, then once more;
/// - `udp-beside`: connects to all but the last, whose answer will therefore not be let in;
/// - `udp-unconnected`: does not connect.
pub(crate) fn run(args: &Args, to: &[SocketAddr]) -> Result<Value> {
    let (last, others) = to.split_last().context("to=")?;
    let any = if last.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = Socket::new(Domain::for_address(*last), Type::DGRAM, Some(Protocol::UDP))?;
    if let Some(mark) = args.one("mark")? {
        socket.set_mark(mark)?;
    }
    socket.bind(&any.parse::<SocketAddr>()?.into())?;
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(PATIENCE))?;
    let how = args.find("how").unwrap_or_default();
    let connected: &[SocketAddr] = match how {
        "udp-unconnected" => &[],
        "udp-beside" => others,
        _ => to,
    };
    for addr in connected {
        socket.connect(addr).with_context(|| format!("connecting to {addr}"))?;
    }
    let say = || match how {
        "udp-unconnected" | "udp-beside" => socket.send_to(HELLO, last),
        _ => socket.send(HELLO),
    };
    let mut said = Vec::new();
    match how {
        "udp-silent" => {}
        "udp-insistent" => {
            insist(say)?;
            socket.recv(&mut [0; 64])?;
            said.push(say());
        }
        _ => said.extend((0..args.one("times")?.unwrap_or(1)).map(|_| say())),
    }
    let mut reply = Vec::new();
    if how != "udp-beside" && said.last().is_some_and(Result::is_ok) {
        reply.resize(64, 0);
        let (len, _) = socket.recv_from(&mut reply)?;
        reply.truncate(len);
    }
    let errors = said.iter().map(|said| said.as_ref().err().and_then(io::Error::raw_os_error));
    Ok(json!({
        "pid": std::process::id(),
        "errors": errors.collect::<Vec<_>>(),
        "peer": socket.peer_addr().ok().map(|addr| addr.to_string()),
        "local": socket.local_addr()?.to_string(),
        "reply": String::from_utf8_lossy(&reply),
    }))
}

fn insist(say: impl Fn() -> io::Result<usize>) -> io::Result<usize> {
    for _ in 1..TRIES {
        if let Ok(len) = say() {
            return Ok(len);
        }
        std::thread::sleep(PAUSE);
    }
    say()
}
