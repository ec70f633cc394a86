//! The contract between the kernel half and the daemon.
#![no_std]
