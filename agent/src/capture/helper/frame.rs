//! One message on the socket between the two sides: bytes, and descriptors beside them.
//!
//! A SEQPACKET socket keeps messages apart and takes as much at once as its buffer holds. What is
//! longer (some thousands of targets) goes through a file in memory, whose descriptor is the first
//! that is sent. The reader copies it, so a sender that changes it later changes nothing.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::fs::MemfdFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};

/// Longest message in the packet itself. The kernel's default buffers hold about three of them.
const INLINE: usize = 64 * 1024;
/// Longest message at all; all targets that the kernel's tables hold take less than half of it.
const LONGEST: usize = 2 * 1024 * 1024;
/// Most descriptors in one message.
pub(crate) const DESCRIPTORS: usize = 16;

/// The first byte says where the rest is.
const HERE: u8 = 0;
const IN_FILE: u8 = 1;

/// A message as it arrived.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

/// Both ends of a new socket.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if bytes.len() > LONGEST || fds.len() >= DESCRIPTORS {
        return Err(too_long());
    }
    if bytes.len() < INLINE {
        return pass(socket.as_fd(), (HERE, bytes), fds);
    }
    let file = rustix::fs::memfd_create("weir-message", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    file.rewind()?;
    let all: Vec<_> = std::iter::once(file.as_fd()).chain(fds.iter().copied()).collect();
    pass(socket.as_fd(), (IN_FILE, &[]), &all)
}

/// Waits for one message; `None` where the other side is gone.
pub(crate) fn receive(socket: impl AsFd, flags: RecvFlags) -> io::Result<Option<Frame>> {
    let mut bytes = vec![0; INLINE];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let got = loop {
        let mut room = [IoSliceMut::new(&mut bytes)];
        match recvmsg(socket.as_fd(), &mut room, &mut ancillary, flags) {
            // The other side closed before it had read everything. The kernel says so once, and
            // before what that side had sent (unix(7)): its last words are still to come.
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
            done => break done?,
        }
    };
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(too_long());
    }
    bytes.truncate(got.bytes);
    let place = bytes.remove(0);
    if place == IN_FILE {
        if fds.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        bytes = read_whole(fds.remove(0))?;
    }
    Ok(Some(Frame { bytes, fds }))
}

fn pass(
    socket: BorrowedFd<'_>,
    (place, bytes): (u8, &[u8]),
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(too_long());
    }
    let place = [place];
    let parts = [IoSlice::new(&place), IoSlice::new(bytes)];
    loop {
        match sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            done => return Ok(done.map(drop)?),
        }
    }
}

fn read_whole(file: OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    File::from(file).take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() > LONGEST { Err(too_long()) } else { Ok(bytes) }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message is too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &OwnedFd) -> io::Result<Option<Frame>> {
        receive(socket, RecvFlags::empty())
    }

    #[test]
    fn messages_of_every_length_arrive_whole_and_apart() {
        let (here, there) = pair().unwrap();
        for length in [0, 1, 1000, INLINE - 1, INLINE, INLINE + 1, LONGEST] {
            let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
            send(&here, &bytes, &[]).unwrap();
            assert_eq!(received(&there).unwrap().unwrap().bytes, bytes);
        }
        assert!(send(&here, &vec![0; LONGEST + 1], &[]).is_err());
    }

    #[test]
    fn the_last_words_of_one_who_did_not_listen_are_heard() {
        let (here, there) = pair().unwrap();
        send(&here, b"unread", &[]).unwrap();
        send(&there, b"no", &[]).unwrap();
        drop(there);
        assert_eq!(received(&here).unwrap().unwrap().bytes, b"no");
        assert!(received(&here).unwrap().is_none());
    }

    #[test]
    fn descriptors_come_along_in_order_also_with_long_messages() {
        let (here, there) = pair().unwrap();
        for length in [3, INLINE * 2] {
            let (mut one, mut other) =
                (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
            one.write_all(b"one").unwrap();
            other.write_all(b"other").unwrap();
            send(&here, &vec![7; length], &[one.as_fd(), other.as_fd()]).unwrap();
            let frame = received(&there).unwrap().unwrap();
            assert_eq!((frame.bytes.len(), frame.fds.len()), (length, 2));
            let read = |fd: &OwnedFd| {
                let mut file = File::from(fd.try_clone().unwrap());
                file.rewind().unwrap();
                io::read_to_string(file).unwrap()
            };
            assert_eq!((read(&frame.fds[0]), read(&frame.fds[1])), ("one".into(), "other".into()));
        }
    }

    #[test]
    fn a_side_that_is_gone_is_told_from_one_that_is_silent() {
        let (here, there) = pair().unwrap();
        let silent = receive(&there, RecvFlags::DONTWAIT).unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::WouldBlock);
        drop(here);
        assert!(received(&there).unwrap().is_none());
        assert!(send(&there, b"x", &[]).is_err());
    }

    #[test]
    fn what_is_no_message_of_ours_is_an_error() {
        let (here, there) = pair().unwrap();
        rustix::io::write(&here, &[IN_FILE]).unwrap();
        assert_eq!(received(&there).unwrap_err().kind(), io::ErrorKind::InvalidData);
        rustix::io::write(&here, &vec![HERE; INLINE + 5]).unwrap();
        assert_eq!(received(&there).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
