//! Weir: attributes, prices and governs the LLM calls of every process on a host.
//!
//! A connection's life, and the modules in the order in which it meets them:
//!
//! ```text
//! connect(2) ─► capture      the kernel redirects it here and says who it was (subject)
//!               downstream   it is understood: relayed untouched, or its TLS terminated and served
//!               pipeline     each request inside becomes one call: inspect, dispatch, relay, settle
//!               policy       whether it may go on, and what to do when it fails, is decided (pure)
//!               upstream     the provider is asked
//!               llm          what was said is read: format, usage, price (pure)
//!               record       what is known when the call is over
//!               ledger, metrics                   keep it
//!               alerts       people are told
//!               events       whoever looks sees it at once
//!               admin, cli                        show it
//! ```
//! `app` puts everything together; `config` says how; `clock` and `drain` are the only readers of
//! clocks and spawners of tasks.

pub mod capture;
pub mod subject;
pub mod downstream;
pub mod pipeline;
pub mod policy;
pub mod upstream;
pub mod llm;
pub mod record;
pub mod ledger;
pub mod metrics;
pub mod alerts;
pub mod events;
pub mod secret;
pub mod config;
pub mod admin;
pub mod app;
pub mod cli;
pub mod demo;
pub mod clock;
pub mod pulse;
pub mod drain;
