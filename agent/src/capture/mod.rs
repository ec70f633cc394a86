//! The kernel's side of things: which connections are redirected, and who opened them.

pub mod origin;
