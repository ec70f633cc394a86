//! Weir's kernel half: one file per hook.
//!
//! A connection passes them in this order: `connect` decides, saves a record and rewrites the
//! destination; `sockops` publishes under which tuple the record is to be found, and reports the
//! end; `peername` tells the application the address it asked for. Whatever goes wrong in between,
//! the connection goes where it was going: no program ever refuses one.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "contexts, helpers and map values are raw pointers here")]
#![expect(clippy::inline_always, reason = "the verifier knows more of a value it sees being made")]
#![expect(
    clippy::cast_lossless,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "helpers return signed words, and contexts keep ports in 32 bits"
)]
#![expect(clippy::needless_pass_by_value, reason = "a context is a pointer, handed on as it came")]

/// Narrates a decision in builds with the feature `log`; nothing at all in others.
macro_rules! narrate {
    ($($arg:tt)*) => {{
        #[cfg(feature = "log")]
        aya_log_ebpf::info!($($arg)*);
    }};
}

mod map;
mod connect;
mod sockops;
mod peername;

/// Lets the kernel hand out the helpers that are reserved for GPL-compatible programs.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
