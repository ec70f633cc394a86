//! What goes over the wire, read and priced: provider transcripts from `tests/golden`, streams cut
//! anywhere, and the whole price catalogue against the crate it comes from.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod catalogue;
mod golden;
mod streams;
mod transcript;
mod translate;
