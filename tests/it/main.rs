//! System tests.

#[cfg(test)]
mod kernel;
