//! User names, from wherever the host keeps them (files, LDAP, systemd's dynamic users).
#![expect(unsafe_code, reason = "the name service has no safe interface")]

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

/// Longest entry of the user database accepted.
const ENTRY: usize = 64 * 1024;

/// Remembers names, and that there is none, for ten minutes: a look-up may go over the network.
#[derive(Debug)]
pub(super) struct Users {
    names: Cache<u32, Option<Arc<str>>>,
}

impl Users {
    pub(super) fn new() -> Self {
        let names =
            Cache::builder().max_capacity(1024).time_to_live(Duration::from_mins(10)).build();
        Self { names }
    }

    /// Name of `uid`, where it has one.
    pub(super) fn name(&self, uid: u32) -> Option<Arc<str>> {
        self.names.get_with(uid, || look_up(uid).map(Arc::from))
    }
}

fn look_up(uid: u32) -> Option<String> {
    let mut buffer: Vec<libc::c_char> = vec![0; 1024];
    loop {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: `entry`, `buffer` and `found` are valid for writes of the sizes given and
        // outlive the call.
        let code = unsafe {
            libc::getpwuid_r(
                uid,
                entry.as_mut_ptr(),
                buffer.as_mut_ptr(),
                buffer.len(),
                &raw mut found,
            )
        };
        if code == libc::ERANGE && buffer.len() < ENTRY {
            buffer.resize(buffer.len() * 4, 0);
            continue;
        }
        if code != 0 || found.is_null() {
            return None;
        }
        // SAFETY: the call succeeded and `found` points to `entry`, which is therefore filled in;
        // `pw_name` points to a terminated string in `buffer`, alive until the end of this scope.
        let name = unsafe { CStr::from_ptr((*found).pw_name) };
        return Some(name.to_string_lossy().into_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_name_and_others_may_have_none() {
        let users = Users::new();
        assert_eq!(users.name(0).as_deref(), Some("root"));
        assert_eq!(users.name(0x7fff_fff1), None);
    }
}
