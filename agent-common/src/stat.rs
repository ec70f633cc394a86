//! What the programs count.

/// Index into the counter map.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stat {
    /// Connections to a wanted port of an address that is not.
    Misses,
    /// Connections redirected.
    Redirected,
    /// Connections to wanted addresses left alone because redirecting is off.
    Observed,
    /// … because no listener of ours lives in the caller's network namespace.
    NoListener,
    /// … because the daemon gave no sign of life.
    Stale,
    /// … because the socket is bound to a device, and that could not be undone.
    Device,
    /// … because the record could not be saved.
    Unsaved,
    /// The daemon's own connections to wanted addresses.
    Own,
    /// Redirected connections whose tuple could not be published.
    Unpublished,
    /// Events that did not fit into the ring buffer.
    EventsDropped,
    /// Connections redirected for who opened them, whatever their address.
    Chosen,
    /// Datagrams of unconnected sockets, and connected sockets with all that they sent, refused because
    /// they were QUIC.
    QuicRefused,
    /// Packets with name servers' answers about wanted hosts.
    Answers,
    /// … that did not fit into their ring buffer.
    AnswersDropped,
    /// Connections to addresses not wanted that were redirected because such a packet was on its way.
    Early,
}

impl Stat {
    /// All of them, in the order of their indices, with the names metrics use.
    pub const ALL: [(Self, &'static str); 15] = [
        (Self::Misses, "misses"),
        (Self::Redirected, "redirected"),
        (Self::Observed, "observed"),
        (Self::NoListener, "no_listener"),
        (Self::Stale, "stale"),
        (Self::Device, "device"),
        (Self::Unsaved, "unsaved"),
        (Self::Own, "own"),
        (Self::Unpublished, "unpublished"),
        (Self::EventsDropped, "events_dropped"),
        (Self::Chosen, "chosen_redirected"),
        (Self::QuicRefused, "quic_refused"),
        (Self::Answers, "dns_answers"),
        (Self::AnswersDropped, "dns_answers_dropped"),
        (Self::Early, "redirected_early"),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_indices() {
        for (at, (stat, _)) in Stat::ALL.iter().enumerate() {
            assert_eq!(*stat as usize, at);
        }
    }
}
