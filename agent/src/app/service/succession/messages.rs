//! What the two say to each other: messages as JSON, and records as lines of the journal. Versions
//! of both may differ: what one does not know of the other ends the upgrade, and changes nothing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, sockopt};
use serde::{Deserialize, Serialize};

use crate::capture::helper::frame;
use crate::pipeline::outstanding::{Held, Settled};

/// The first byte of lines of the journal. No message begins with it.
const RECORDS: u8 = b'L';

/// A message.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// Who asks for a successor; with it its listeners, by these names.
    Welcome { program: Option<u32>, names: Vec<String> },
    /// The successor cannot take over.
    Failed(String),
    /// It could at once.
    Ready { version: String, pid: u32 },
    /// Some of the calls in flight.
    Held(Vec<Held>),
    /// That was all of them; and breakers that are open. The ledger is free.
    State { open: Vec<Open> },
    /// All metrics, as they are scraped.
    Counted(String),
    /// It has taken over.
    Took,
    /// What one of the calls in flight came to.
    Settled(Settled),
    /// Whether the records are kept.
    Kept(bool),
}

/// A breaker that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::app) struct Open {
    /// Its name.
    pub(super) name: String,
    /// Until when; `None` is until it is reset.
    pub(super) until: Option<SystemTime>,
    /// Why.
    pub(super) reason: Option<String>,
}

/// What has come.
#[derive(Debug)]
pub(super) enum Come {
    Message(Message, Vec<OwnedFd>),
    Records(Vec<u8>),
}

pub(super) fn send(socket: &OwnedFd, message: &Message, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    frame::send(socket, &serde_json::to_vec(message)?, fds)
}

pub(super) fn send_records(socket: &OwnedFd, lines: &[u8]) -> io::Result<()> {
    frame::send(socket, &[&[RECORDS], lines].concat(), &[])
}

/// The next that comes; `None` where the other side is gone.
pub(super) fn receive(socket: &OwnedFd) -> io::Result<Option<Come>> {
    let Some(mut frame) = frame::receive(socket, RecvFlags::empty())? else { return Ok(None) };
    if frame.bytes.first() == Some(&RECORDS) {
        return Ok(Some(Come::Records(frame.bytes.split_off(1))));
    }
    let message = serde_json::from_slice(&frame.bytes)?;
    Ok(Some(Come::Message(message, frame.fds)))
}

/// Whether the other side is still there. What it sent before it went can be read all the same.
pub(super) fn is_there(socket: &impl AsFd) -> io::Result<bool> {
    let mut asked = [PollFd::new(socket, PollFlags::empty())];
    poll(&mut asked, Some(&Timespec::default()))?;
    Ok(!asked[0].revents().contains(PollFlags::HUP))
}

/// From here on nothing is waited for longer than this; `None` is for ever.
pub(super) fn patience(socket: &impl AsFd, patience: Option<Duration>) -> io::Result<()> {
    for way in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
        sockopt::set_socket_timeout(socket, way, patience)?;
    }
    Ok(())
}

/// An answer that is none.
pub(super) fn unexpected(come: Option<&Come>) -> io::Error {
    match come {
        None => io::Error::new(io::ErrorKind::UnexpectedEof, "the other process is gone"),
        Some(_) => {
            io::Error::new(io::ErrorKind::InvalidData, "it says something else than expected")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_records_are_told_apart() {
        let (here, there) = frame::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        let welcome = Message::Welcome { program: Some(7), names: vec!["proxy".to_owned()] };
        send(&here, &welcome, &[file.as_fd()]).unwrap();
        send(&here, &Message::Took, &[]).unwrap();
        send_records(&here, b"{}\n").unwrap();
        let Some(Come::Message(Message::Welcome { program, names }, fds)) =
            receive(&there).unwrap()
        else {
            panic!("a welcome")
        };
        assert_eq!((program, names.len(), fds.len()), (Some(7), 1, 1));
        let took = receive(&there).unwrap();
        assert!(matches!(took, Some(Come::Message(Message::Took, _))));
        let Some(Come::Records(lines)) = receive(&there).unwrap() else { panic!("records") };
        assert_eq!(lines, b"{}\n");
        assert!(is_there(&there).unwrap());
        send(&here, &Message::Took, &[]).unwrap();
        drop(here);
        assert!(!is_there(&there).unwrap());
        assert!(receive(&there).unwrap().is_some(), "its last words");
        assert!(receive(&there).unwrap().is_none());
    }
}
