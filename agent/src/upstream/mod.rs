//! The provider's side: dialling, TLS, and connections kept between calls.
//!
//! Every downstream connection has one [`Link`], so that its calls find a live connection without
//! a shared lock; the [`Pool`] behind it keeps what links leave over.

pub mod body;
pub mod certificate;
pub mod connect;
pub mod failure;
pub mod link;
pub mod own;
pub mod pool;
pub mod tls;
pub mod via;

pub use body::{BoxError, Outgoing};
pub use certificate::Problem;
pub use connect::{Connect, Destination, Io, SocketOptions};
pub use failure::Failure;
pub use link::Link;
pub use own::Own;
pub use pool::{Pool, Target};
pub use tls::{Offer, Protocol, Tls};
