//! What is decided about calls: whether one may be made, and what to do when it fails.
//!
//! Pure: values in, values out, told the time. [`Engine`] holds what was used and decides who may
//! still ask (limits, budgets, guardrails, loops); [`Reliability`] knows how providers fare and
//! decides what happens after a failure (retries, breakers, failover). Both are kept behind one
//! short lock by the pipeline, which acts.

pub mod enforcement;
pub mod call;
pub mod selector;
pub mod settings;
pub mod containers;
mod teams;
mod window;
mod calendar;
mod budget;
mod guardrail;
mod loops;
mod gauge;
mod counters;
mod rules;
mod text;
pub mod engine;
pub mod reliability;
pub mod view;
#[cfg(test)]
mod testing;

pub use self::call::{
    Actual, Admission, Amount, Barred, Bound, Call, Denied, Figure, Further, Granted, Reason,
    Ticket, Tries, Verdict,
};
pub use self::enforcement::Enforcement;
pub use self::engine::Engine;
pub use self::reliability::Reliability;
pub use self::settings::Settings;
