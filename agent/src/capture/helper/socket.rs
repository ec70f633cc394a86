//! Sockets that the programs leave alone: they carry the agent's mark.
//!
//! A client's own mark is carried on instead only where the programs know the agent by its
//! thread-group id. Where they know it by its mark alone, such a socket would be led back to us, and
//! the connection made for that one again, without end.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use crate::capture::MARK;

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
}

/// A socket wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Its protocol.
    pub kind: Kind,
    /// Whether it is of version 6.
    pub v6: bool,
    /// The client's own mark, to be carried on.
    pub mark: Option<u32>,
    /// Index of the interface to leave through.
    pub device: Option<u32>,
    /// The network namespace to leave from, by the number it was given when it was entered; `None`
    /// for the agent's own.
    pub netns: Option<u64>,
}

/// Makes the socket. `spared` says that the programs leave this process alone whatever the mark.
pub(super) fn open(wish: Wish, spared: bool) -> io::Result<OwnedFd> {
    let (kind, protocol) = match wish.kind {
        Kind::Stream => (Type::STREAM, Protocol::TCP),
        Kind::Datagram => (Type::DGRAM, Protocol::UDP),
    };
    let domain = if wish.v6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, kind.nonblocking(), Some(protocol))?;
    match wish.mark.filter(|_| spared) {
        Some(clients) => socket.set_mark(clients)?,
        None => match socket.set_mark(MARK) {
            // Without the privilege to mark there are no programs either, from which the mark
            // would have to protect.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        },
    }
    let device = wish.device.and_then(NonZeroU32::new);
    match device {
        Some(_) if wish.v6 => socket.bind_device_by_index_v6(device)?,
        Some(_) => socket.bind_device_by_index_v4(device)?,
        None => {}
    }
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(wish: Wish, spared: bool) -> Option<u32> {
        // Without privilege there is nothing to be seen.
        let privileged = rustix::process::geteuid().is_root();
        let socket = Socket::from(open(wish, spared).unwrap());
        privileged.then(|| socket.mark().unwrap())
    }

    #[test]
    fn a_clients_mark_is_mirrored_only_where_ours_is_not_all_that_saves_us_from_a_loop() {
        let wish = Wish { kind: Kind::Stream, v6: false, mark: None, device: None, netns: None };
        let Some(ours) = marked(wish, false) else { return };
        assert_eq!(ours, MARK);
        let client = Wish { mark: Some(0x77), ..wish };
        assert_eq!(marked(client, true), Some(0x77));
        assert_eq!(marked(client, false), Some(MARK), "it would come back to us");
        assert_eq!(marked(Wish { kind: Kind::Datagram, v6: true, ..wish }, true), Some(MARK));
    }

    #[test]
    fn sockets_do_not_block() {
        let wish = Wish { kind: Kind::Stream, v6: false, mark: None, device: None, netns: None };
        let socket = Socket::from(open(wish, true).unwrap());
        assert!(socket.nonblocking().unwrap());
    }
}
