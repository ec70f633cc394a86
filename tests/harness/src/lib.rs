//! Test harness: the mock provider, a stage for the real kernel, and clients to put on it.
//!
//! A kernel test isolates itself first: its own network namespace without routes, its own mount
//! namespace, its own cgroup. Nothing it does reaches the host or another test.

pub mod artefacts;
pub mod provider;
pub mod origin;
pub mod http;
pub mod stage;
pub mod read;
pub mod client;
pub mod sdk;
pub mod terminal;
pub mod wait;
pub mod money;
pub mod collector;
pub mod records;

pub use client::{Output, Route, curl, urllib};
pub use origin::{Manner, Origin};
pub use provider::Provider;
pub use stage::{BYSTANDER, Stage, on_stage};
pub use terminal::Terminal;
pub use wait::{until, within};
