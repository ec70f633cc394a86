//! What goes over the wire to a provider, understood: formats, usage and price. Pure: values in,
//! values out; no clock, no I/O.

pub mod providers;
pub mod call;
pub mod meter;
mod decode;
mod stream;
mod sse;
mod dialect;
mod openai;
mod anthropic;
mod gemini;
mod json;
pub mod live;
pub mod reading;
pub mod usage;
pub mod price;
pub mod maxima;
pub mod dearest;
pub mod tokens;
pub mod quota;
pub mod translate;
