//! User names, from wherever the host keeps them (files, LDAP, systemd's dynamic users).
#![expect(unsafe_code, reason = "the name service has no safe interface")]

use std::ffi::{CStr, CString};
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

/// Uid of a user, given by name or as the number itself.
pub(in crate::capture) fn uid(name: &str) -> Option<u32> {
    if let Ok(uid) = name.parse() {
        return Some(uid);
    }
    let name = CString::new(name).ok()?;
    entry(
        |room| {
            let Room { entry, buffer, found } = room;
            // SAFETY: `entry`, `buffer` and `found` are valid for writes of the sizes given and
            // outlive the call; the name is terminated.
            unsafe {
                libc::getpwnam_r(name.as_ptr(), entry, buffer.as_mut_ptr(), buffer.len(), found)
            }
        },
        |entry| entry.pw_uid,
    )
}

fn look_up(uid: u32) -> Option<String> {
    entry(
        |room| {
            let Room { entry, buffer, found } = room;
            // SAFETY: as above.
            unsafe { libc::getpwuid_r(uid, entry, buffer.as_mut_ptr(), buffer.len(), found) }
        },
        // SAFETY: a terminated string in the buffer, which is still there.
        |entry| unsafe { CStr::from_ptr(entry.pw_name) }.to_string_lossy().into_owned(),
    )
}

/// Where an entry of the user database is written to.
struct Room<'a> {
    entry: *mut libc::passwd,
    buffer: &'a mut [libc::c_char],
    found: *mut *mut libc::passwd,
}

/// Asks until there is room for the answer.
fn entry<T>(
    ask: impl Fn(Room<'_>) -> libc::c_int,
    read: impl FnOnce(&libc::passwd) -> T,
) -> Option<T> {
    let mut buffer: Vec<libc::c_char> = vec![0; 1024];
    loop {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        let room = Room { entry: entry.as_mut_ptr(), buffer: &mut buffer, found: &raw mut found };
        let code = ask(room);
        if code == libc::ERANGE && buffer.len() < ENTRY {
            buffer.resize(buffer.len() * 4, 0);
            continue;
        }
        if code != 0 || found.is_null() {
            return None;
        }
        // SAFETY: the call succeeded and `found` points to `entry`, which is therefore filled in.
        return Some(read(unsafe { &*found }));
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
        assert_eq!((uid("root"), uid("1000"), uid("no such user")), (Some(0), Some(1000), None));
    }
}
