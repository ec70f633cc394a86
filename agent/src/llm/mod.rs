//! What goes over the wire to a provider, understood: formats, usage and price. Pure: values in,
//! values out; no clock, no I/O.

pub mod call;
pub mod usage;
