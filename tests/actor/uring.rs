//! connect(2) through `io_uring`: what a seccomp filter or a tracepoint does not see, the hooks do.
#![expect(unsafe_code, reason = "submissions carry raw pointers")]

use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, types};
use socket2::{SockAddr, Socket};

pub(crate) fn connect(socket: &Socket, addr: &SockAddr) -> io::Result<()> {
    let mut ring = IoUring::new(2)?;
    let fd = types::Fd(socket.as_raw_fd());
    let entry = opcode::Connect::new(fd, addr.as_ptr().cast(), addr.len()).build();
    // SAFETY: socket and address outlive the operation, which is waited for.
    unsafe { ring.submission().push(&entry) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let done = ring.completion().next().ok_or(io::ErrorKind::UnexpectedEof)?;
    if done.result() < 0 { Err(io::Error::from_raw_os_error(-done.result())) } else { Ok(()) }
}
