//! A client: connects in the way it is told, says hello, and reports what it got and whom it
//! believes to be talking to.
#![expect(unsafe_code, reason = "fast open and polling have no safe wrapper")]

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::args::Args;
use crate::{datagrams, uring};

pub(crate) const HELLO: &[u8] = b"hello";
/// A test that would hang fails instead.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Dials `to` (several: one after the other with the same socket) and tells how it went.
pub(crate) fn run(args: &Args) -> Result<Value> {
    let to: Vec<SocketAddr> = args.list("to")?;
    let last = *to.last().context("to=")?;
    if args.find("how").is_some_and(|how| how.starts_with("udp")) {
        return datagrams::run(args, &to);
    }
    let socket = socket(args, last)?;
    let mut errors = Vec::new();
    let mut said = false;
    for (at, addr) in to.iter().enumerate() {
        let dialled = connect(args, &socket, *addr);
        errors.push(dialled.as_ref().err().and_then(io::Error::raw_os_error));
        said = dialled.unwrap_or(false);
        if at + 1 < to.len() {
            rustix::net::connect_unspec(&socket)?;
        }
    }
    let peer = socket.peer_addr().ok().and_then(|addr| addr.as_socket());
    let local = socket.local_addr().ok().and_then(|addr| addr.as_socket());
    let mut reply = String::new();
    if errors.last().is_some_and(Option::is_none) {
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(
            args.one("patience")?.map_or(PATIENCE, Duration::from_millis),
        ))?;
        let talked = talk(&socket, said, &mut reply);
        errors.extend(talked.err().map(|error| error.raw_os_error()));
    }
    Ok(json!({
        "pid": std::process::id(),
        "errors": errors,
        "peer": peer.map(|addr| addr.to_string()),
        "local": local.map(|addr| addr.to_string()),
        "reply": reply,
    }))
}

fn talk(mut socket: &Socket, said: bool, reply: &mut String) -> io::Result<usize> {
    if !said {
        socket.write_all(HELLO)?;
    }
    socket.read_to_string(reply)
}

fn socket(args: &Args, to: SocketAddr) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(only) = args.one("v6only")? {
        socket.set_only_v6(only)?;
    }
    if let Some(mark) = args.one("mark")? {
        socket.set_mark(mark)?;
    }
    if let Some(device) = args.find("device") {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    if let Some(addr) = args.one::<SocketAddr>("bind")? {
        socket.bind(&addr.into())?;
    }
    Ok(socket)
}

/// True where hello has been said along with it.
fn connect(args: &Args, socket: &Socket, to: SocketAddr) -> io::Result<bool> {
    let addr = SockAddr::from(to);
    match args.find("how").unwrap_or("blocking") {
        "nonblocking" => nonblocking(socket, &addr)?,
        "uring" => uring::connect(socket, &addr)?,
        "fastopen-send" => return fastopen_send(socket, &addr).map(|()| true),
        "fastopen-connect" => {
            set_fastopen_connect(socket)?;
            socket.connect(&addr)?;
            // Only now the handshake begins.
            let mut socket = socket;
            socket.write_all(HELLO)?;
            return Ok(true);
        }
        _ => socket.connect(&addr)?,
    }
    Ok(false)
}

fn nonblocking(socket: &Socket, addr: &SockAddr) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    match socket.connect(addr) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        other => return other,
    }
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one entry, which outlives the call.
    if unsafe { libc::poll(&raw mut poll, 1, 5000) } != 1 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    socket.take_error()?.map_or(Ok(()), Err)?;
    // As old programs do, to be sure.
    match socket.connect(addr) {
        Err(error) if error.raw_os_error() == Some(libc::EISCONN) => Ok(()),
        other => other,
    }
}

fn fastopen_send(socket: &Socket, addr: &SockAddr) -> io::Result<()> {
    // SAFETY: buffer and address outlive the call and have the lengths given.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            HELLO.as_ptr().cast(),
            HELLO.len(),
            libc::MSG_FASTOPEN,
            addr.as_ptr().cast(),
            addr.len(),
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set_fastopen_connect(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len = libc::socklen_t::try_from(size_of_val(&on)).unwrap_or_default();
    // SAFETY: the value has the length given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_FASTOPEN_CONNECT,
            (&raw const on).cast(),
            len,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
