//! Weir's kernel half: one file per hook.
//!
//! A connection passes them in this order: `connect` decides, saves a record and rewrites the
//! destination; `sockops` publishes under which tuple the record is to be found, and reports the
//! end; `peername` tells the application the address it asked for. Whatever goes wrong in between,
//! the connection goes where it was going: no program ever refuses one, but for `guard`, which is
//! linked only where that was asked for. `quic` refuses datagrams that would go past us, for the
//! application to fall back to TCP; `dns` copies what name servers answer.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "contexts, helpers and map values are raw pointers here")]
#![expect(clippy::inline_always, reason = "calls between programs' parts cost, and pass few types")]
#![expect(clippy::needless_pass_by_value, reason = "the signature of a program")]
#![expect(clippy::cast_possible_truncation, reason = "contexts hold everything in words")]

/// Narrates a decision in builds with the feature `log`; nothing at all in others.
macro_rules! narrate {
    ($($arg:tt)*) => {{
        #[cfg(feature = "log")]
        aya_log_ebpf::info!($($arg)*);
    }};
}

mod map;
mod ip;
mod dns;
mod connect;
mod quic;
mod sockops;
mod peername;
mod guard;

/// Lets the kernel hand out the helpers that are reserved for GPL-compatible programs.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
