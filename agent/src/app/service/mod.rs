//! The service manager's side: what it is told, what it keeps for us, and how it sees that we live.
//!
//! Everything here is systemd's protocol (`sd_notify(3)`, `sd_listen_fds(3)`), and nothing of it
//! matters where no service manager is: then nobody is told, and nothing is kept.

mod notify;
mod sockets;
mod succession;
mod watchdog;

pub(super) use self::notify::{is_told, ready, ready_as_main, reloading, stopping, wait_longer};
pub(super) use self::sockets::{Doors, Sockets};
pub use self::succession::Predecessor;
pub(super) use self::succession::{Inheritance, Leave, Tickets, upgrade};
pub(super) use self::watchdog::{status, watch};
