//! Finds the cookie of a local socket by its addresses, through `sock_diag(7)`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
const ERROR: u16 = 2;
const TCP: u8 = 6;
const HEADER: usize = 16;
/// Where the two halves of the cookie stand in the answer, an `inet_diag_msg`.
const COOKIE: usize = HEADER + 4 + 4 + 32 + 4;
/// The kernel answers before send(2) returns; the bound is for a kernel that does not.
const PATIENCE: Duration = Duration::from_millis(100);

/// The cookie of the TCP socket in the calling thread's network namespace whose own address is
/// `local` and whose peer is `remote`.
pub(super) fn cookie(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<u64>> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
    rustix::net::send(&socket, &question(local, remote), SendFlags::empty())?;
    let mut answer = [0; 1024];
    let (_, len) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    Ok(parse(answer.get(..len).unwrap_or(&answer)))
}

/// An `nlmsghdr` and an `inet_diag_req_v2` that names exactly one socket.
fn question(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + 56);
    message.extend((u32::try_from(HEADER + 56).unwrap_or(u32::MAX)).to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([0; 8]); // sequence, port id

    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    message.extend([u8::try_from(family).unwrap_or_default(), TCP, 0, 0]);
    message.extend(u32::MAX.to_ne_bytes()); // in any state
    message.extend(local.port().to_be_bytes());
    message.extend(remote.port().to_be_bytes());
    message.extend(padded(local.ip()));
    message.extend(padded(remote.ip()));
    message.extend(0_u32.to_ne_bytes()); // on any interface
    message.extend([0xff; 8]); // with any cookie
    message
}

fn padded(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn parse(answer: &[u8]) -> Option<u64> {
    let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
    if kind == ERROR {
        return None;
    }
    let low = u32::from_ne_bytes(*answer.get(COOKIE..)?.first_chunk()?);
    let high = u32::from_ne_bytes(*answer.get(COOKIE + 4..)?.first_chunk()?);
    Some(u64::from(high) << 32 | u64::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn finds_the_cookie_that_the_socket_itself_tells() {
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(bind) else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let known = sockopt::socket_cookie(&client).unwrap();
            let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            assert_eq!(cookie(local, remote).unwrap(), Some(known));
            assert_ne!(cookie(remote, local).unwrap_or_default(), Some(known));
        }
    }

    #[test]
    fn a_socket_that_does_not_exist_has_none() {
        let nobody = "127.0.0.1:1".parse().unwrap();
        assert_eq!(cookie(nobody, nobody).unwrap(), None);
    }
}
