//! What the programs tell the daemon through the ring buffer.

use crate::{Record, seen};

/// Values of [`Event::kind`].
pub mod kind {
    /// A connection that is left alone is being opened: its process can still be examined.
    pub const OPENED: u32 = 1;
    /// A connection is over, redirected or not.
    pub const CLOSED: u32 = 2;
    /// A datagram was refused: of a connected socket, the first.
    pub const REFUSED: u32 = 3;
}

/// One message.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// One of [`kind`].
    pub kind: u32,
    /// TCP state the socket was in before it closed.
    pub last_state: u32,
    /// Nanoseconds since boot.
    pub at: u64,
    /// The kernel's `bytes_received`: counts the peer's FIN as a byte.
    pub received: u64,
    /// The kernel's `bytes_acked`: counts our SYN and our FIN as a byte each.
    pub acked: u64,
    /// The connection.
    pub record: Record,
}

const _: () = assert!(size_of::<Event>() == 120 && align_of::<Event>() == 8);

/// TCP states as in the kernel's `net/tcp_states.h`.
pub mod tcp {
    /// Handshake done.
    pub const ESTABLISHED: u32 = 1;
    /// Our FIN was acknowledged.
    pub const FIN_WAIT2: u32 = 5;
    /// Both FINs were exchanged.
    pub const TIME_WAIT: u32 = 6;
    /// Over.
    pub const CLOSE: u32 = 7;
    /// The peer closed first.
    pub const CLOSE_WAIT: u32 = 8;
    /// The peer closed first, our FIN is out.
    pub const LAST_ACK: u32 = 9;
    /// Listening.
    pub const LISTEN: u32 = 10;
    /// Both closed at once.
    pub const CLOSING: u32 = 11;
}

impl Event {
    /// Whether the handshake never completed.
    pub const fn failed(&self) -> bool {
        self.record.seen & seen::ESTABLISHED == 0
    }

    /// Bytes of payload that arrived. One too many where a client that had half-closed read on to
    /// the end: the kernel does not say whether the last byte was the peer's FIN then.
    pub const fn payload_received(&self) -> u64 {
        let fin = (self.record.seen & seen::PEER_FIN != 0) as u64;
        self.received.saturating_sub(fin)
    }

    /// Bytes of payload that the peer acknowledged.
    pub const fn payload_sent(&self) -> u64 {
        let syn = !self.failed() as u64;
        let fin = matches!(
            self.last_state,
            tcp::FIN_WAIT2 | tcp::TIME_WAIT | tcp::LAST_ACK | tcp::CLOSING
        ) as u64;
        self.acked.saturating_sub(syn + fin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Addr;

    fn closed(seen: u8, last_state: u32, received: u64, acked: u64) -> Event {
        let record = Record {
            cookie: 1,
            netns: 1,
            cgroup: 1,
            at: 1,
            destination: Addr::LOCALHOST4,
            tgid: 1,
            uid: 0,
            gid: 0,
            device: 0,
            mark: 0,
            port: 443,
            verdict: crate::verdict::OBSERVED,
            seen,
            comm: [0; 16],
        };
        Event { kind: kind::CLOSED, last_state, at: 2, received, acked, record }
    }

    #[test]
    fn sequence_numbers_of_syn_and_fin_are_not_payload() {
        // The client closed first: 2 bytes out, 5 in.
        let first = closed(seen::ESTABLISHED, tcp::FIN_WAIT2, 5, 4);
        assert_eq!((first.payload_sent(), first.payload_received()), (2, 5));
        // The server closed first.
        let second = closed(seen::ESTABLISHED | seen::PEER_FIN, tcp::LAST_ACK, 6, 4);
        assert_eq!((second.payload_sent(), second.payload_received()), (2, 5));
        // Reset while established.
        let reset = closed(seen::ESTABLISHED, tcp::ESTABLISHED, 5, 3);
        assert_eq!((reset.payload_sent(), reset.payload_received()), (2, 5));
    }

    #[test]
    fn a_refused_connection_carried_nothing() {
        let refused = closed(0, 2, 0, 0);
        assert!(refused.failed());
        assert_eq!((refused.payload_sent(), refused.payload_received()), (0, 0));
    }
}
