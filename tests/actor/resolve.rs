//! A client that only asks the C library for addresses.
#![expect(unsafe_code, reason = "the standard library asks without a port")]

use std::ffi::CString;
use std::ptr;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use socket2::SockAddr;

use crate::args::Args;

/// Looks up port 443 of `name`, as most clients do; tells the addresses in the order in which they are
/// to be tried.
pub(crate) fn run(args: &Args) -> Result<Value> {
    let name = CString::new(args.find("name").context("name=")?)?;
    let mut found: *mut libc::addrinfo = ptr::null_mut();
    // SAFETY: all zeros are no hints at all.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_socktype = libc::SOCK_STREAM;
    // SAFETY: strings that end, and a place for the answer; all outlive the call.
    let done = unsafe {
        libc::getaddrinfo(name.as_ptr(), c"443".as_ptr(), &raw const hints, &raw mut found)
    };
    ensure!(done == 0, "getaddrinfo: {done}");
    let mut addrs = Vec::new();
    let mut next = found;
    // SAFETY: null, or an entry of the list, which is freed only below.
    while let Some(entry) = unsafe { next.as_ref() } {
        // SAFETY: an entry's address has the length it says, and that is less than a storage's.
        let ((), addr) = unsafe {
            SockAddr::try_init(|storage, len| {
                ptr::copy_nonoverlapping(
                    entry.ai_addr.cast::<u8>(),
                    storage.cast(),
                    entry.ai_addrlen as usize,
                );
                *len = entry.ai_addrlen;
                Ok(())
            })
        }?;
        addrs.push(addr.as_socket().context("an IP address")?.ip().to_string());
        next = entry.ai_next;
    }
    // SAFETY: the list that getaddrinfo made, once.
    unsafe { libc::freeaddrinfo(found) };
    Ok(json!({ "addrs": addrs }))
}
