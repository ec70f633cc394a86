//! Weir: attributes, prices and governs the LLM calls of every process on a host.
//!
//! Modules stand in the order in which a call meets them.

pub mod capture;
pub mod subject;
pub mod downstream;
pub mod pipeline;
pub mod upstream;
pub mod llm;
pub mod record;
pub mod ledger;
pub mod metrics;
pub mod config;
pub mod clock;
pub mod drain;
