//! Who is at the other end of a unix socket, as the kernel says.
#![expect(unsafe_code, reason = "SO_PEERGROUPS has no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::net::sockopt;

/// Credentials of a process at the time it connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) uid: u32,
    /// Primary and supplementary groups.
    pub(super) groups: Vec<u32>,
}

impl Peer {
    /// The peer of a connected unix socket.
    pub(super) fn of(socket: &impl AsFd) -> io::Result<Self> {
        let credentials = sockopt::socket_peercred(socket)?;
        let mut groups = peer_groups(socket)?;
        groups.push(credentials.gid.as_raw());
        Ok(Self { uid: credentials.uid.as_raw(), groups })
    }
}

/// unix(7): the supplementary groups of the peer, since Linux 4.13.
fn peer_groups(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    let fd = socket.as_fd().as_raw_fd();
    let mut groups = vec![0_u32; 64];
    loop {
        let mut bytes = libc::socklen_t::try_from(size_of_val(&groups[..]))
            .map_err(|_| io::ErrorKind::InvalidData)?;
        // SAFETY: `groups` is writable for `bytes` bytes, and any bytes are valid `gid_t`s.
        let done = unsafe {
            libc::getsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = bytes as usize / size_of::<u32>();
        if done == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let fault = io::Error::last_os_error();
        // ERANGE: too small, and `bytes` says how large it must be.
        if fault.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(fault);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_pairs_peer_is_this_process() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let peer = Peer::of(&ours).unwrap();
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert!(peer.groups.contains(&rustix::process::getegid().as_raw()));
    }
}
