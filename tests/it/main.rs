//! System tests: one binary, one module per part of the whole.

mod provider;
mod stage;
mod clients;
mod demo;
#[cfg(test)]
mod kernel;
