//! `weir upgrade`: a successor takes over from the running daemon, and no call notices.
//!
//! ```text
//! predecessor                                        successor
//!   launch ──────────────► (keeper) ───────────────►  starts, from the file on disk
//!   Welcome: listeners, its program at connect(2) ──►  everything is made; hooks attached beside
//!                                              ◄────  Ready, or Failed: then nothing has happened
//!   wants no connection any more, detaches,
//!   accepts nothing, lets clients' connections end
//!   or begin their last request; limits decide no
//!   more; ledger written and let go of
//!   Held…, State ───────────────────────────────────►  ledger, limits, breakers taken over
//!                                              ◄────  Took; it accepts, and is the main process
//!   last calls end: Settled, records ───────────────►  settled in its limits, kept in its ledger
//!   ends
//! ```
//! While both are attached, the predecessor's programs are asked first (the kernel runs them in the
//! order in which they were attached) and rewrite what they want; from then on it is not what the
//! successor's want. So each connection belongs to one of the two. One that the successor gets before
//! it has taken over waits in its listener's queue.

mod messages;
mod predecessor;
mod successor;

pub use self::predecessor::Predecessor;
pub(in crate::app) use self::predecessor::{Inheritance, Tickets};
pub(in crate::app) use self::successor::{Leave, upgrade};
