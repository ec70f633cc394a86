//! One socket by its addresses, from the kernel's `sock_diag` netlink interface.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

use super::Socket;

/// `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`.
const BY_FAMILY: u16 = 20;

/// `NLMSG_ERROR` of `linux/netlink.h`.
const ERROR: u16 = 2;

/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;

/// Size of `struct nlmsghdr`.
const HEADER: usize = 16;

/// Asks for the socket whose own address is `local` and whose peer is `remote`, in the calling
/// thread's network namespace.
pub(in crate::capture) fn socket(
    local: SocketAddr,
    remote: SocketAddr,
) -> io::Result<Option<Socket>> {
    ask(&open()?, local, remote)
}

/// A socket that answers for the network namespace it is opened in, whoever asks through it.
pub(in crate::capture) fn open() -> io::Result<OwnedFd> {
    let netlink = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(SOCK_DIAG),
    )?;
    // The kernel answers within the send; the bound is for kernels that do not answer at all.
    set_socket_timeout(&netlink, Timeout::Recv, Some(Duration::from_millis(200)))?;
    Ok(netlink)
}

/// Asks through `netlink`, which nobody else may be asking through meanwhile.
pub(in crate::capture) fn ask(
    netlink: &OwnedFd,
    local: SocketAddr,
    remote: SocketAddr,
) -> io::Result<Option<Socket>> {
    let request = request(local, remote);
    sendto(netlink, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 1024];
    let (received, _) = recv(netlink, &mut answer[..], RecvFlags::empty())?;
    read(&answer[..received], remote)
}

/// `struct nlmsghdr`, then `struct inet_diag_req_v2`. Host byte order but for ports and addresses.
fn request(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let mut body = Vec::with_capacity(56);
    // Family, protocol, no extensions, padding; every state.
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    body.extend([family.to_le_bytes()[0], libc::IPPROTO_TCP.to_le_bytes()[0], 0, 0]);
    body.extend(u32::MAX.to_ne_bytes());
    body.extend(local.port().to_be_bytes());
    body.extend(remote.port().to_be_bytes());
    body.extend(address(local.ip()));
    body.extend(address(remote.ip()));
    // Any interface, any cookie (`INET_DIAG_NOCOOKIE`).
    body.extend(0u32.to_ne_bytes());
    body.extend([0xff; 8]);

    let mut message = Vec::with_capacity(HEADER + body.len());
    // Both parts are of fixed size, 72 bytes together.
    message.extend(72u32.to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Four words; an IPv4 address fills the first.
fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let mut words = [0; 16];
            words[..4].copy_from_slice(&ip.octets());
            words
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Reads `struct inet_diag_msg`, or the error in its place.
fn read(answer: &[u8], remote: SocketAddr) -> io::Result<Option<Socket>> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let word = |at: usize| -> io::Result<[u8; 4]> {
        answer.get(at..at + 4).and_then(|b| b.try_into().ok()).ok_or_else(malformed)
    };
    let kind = answer.get(4..6).and_then(|b| b.try_into().ok()).ok_or_else(malformed)?;
    match u16::from_ne_bytes(kind) {
        BY_FAMILY => {}
        ERROR => {
            let code = i32::from_ne_bytes(word(HEADER)?);
            return match Errno::from_raw_os_error(-code) {
                Errno::NOENT => Ok(None),
                errno => Err(errno.into()),
            };
        }
        _ => return Err(malformed()),
    }
    // Where no connection matches, the kernel names the listener at the address: it has no peer.
    let port = answer.get(HEADER + 6..HEADER + 8).ok_or_else(malformed)?;
    if port != remote.port().to_be_bytes() {
        return Ok(None);
    }
    // After four bytes and the 48 of `struct inet_diag_sockid` (whose end is the cookie) come
    // timer and queues, then user and inode.
    let cookie = [word(HEADER + 44)?, word(HEADER + 48)?].map(u32::from_ne_bytes);
    Ok(Some(Socket {
        uid: u32::from_ne_bytes(word(HEADER + 64)?),
        inode: u64::from(u32::from_ne_bytes(word(HEADER + 68)?)),
        cookie: Some(u64::from(cookie[1]) << 32 | u64::from(cookie[0])),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn requests_have_the_kernels_layout() {
        let message = request(at("127.0.0.1:513"), at("10.0.0.9:258"));
        assert_eq!(message.len(), 72);
        assert_eq!(message[..4], 72u32.to_ne_bytes());
        assert_eq!(message[16..20], [2, 6, 0, 0]);
        assert_eq!(message[24..28], [2, 1, 1, 2], "ports");
        assert_eq!(message[28..32], [127, 0, 0, 1]);
        assert_eq!(message[44..48], [10, 0, 0, 9]);
        assert_eq!(request(at("[::1]:1"), at("[::1]:2"))[43], 1);
    }

    #[test]
    fn answers_that_are_none() {
        let remote = at("127.0.0.1:0");
        let error = |code: i32| {
            let mut answer = vec![0; 36];
            answer[4..6].copy_from_slice(&ERROR.to_ne_bytes());
            answer[16..20].copy_from_slice(&(-code).to_ne_bytes());
            answer
        };
        assert_eq!(read(&error(libc::ENOENT), remote).unwrap(), None);
        let refused = read(&error(libc::EPERM), remote).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        for length in 0..88 {
            let mut answer = vec![0; length];
            if length > 6 {
                answer[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
            }
            assert!(!matches!(read(&answer, remote), Ok(Some(_))), "{length}");
        }
    }
}
