//! Sets `lo` up and puts addresses on it, over rtnetlink: a fresh machine may lack `ip`.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

use super::Host;

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const NLMSG_ERROR: u16 = 2;
/// `NLM_F_REQUEST | NLM_F_ACK`
const CHANGE: u16 = 0x001 | 0x004;
/// The same with `NLM_F_EXCL | NLM_F_CREATE`
const ADD: u16 = CHANGE | 0x200 | 0x400;
const IFF_UP: u32 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Without it an IPv6 address cannot be bound until it is known to be nobody else's.
const IFA_F_NODAD: u8 = 2;
/// `lo` is the first interface of every network namespace.
const LO: u32 = 1;

/// `struct nlmsghdr` is 16 bytes; an acknowledgement carries an errno after it.
const HEADER: usize = 16;

pub(super) fn up(hosts: &[Host<'_>]) -> io::Result<()> {
    request(RTM_NEWLINK, CHANGE, &link_up())?;
    // Names may share an address.
    let addresses: BTreeSet<IpAddr> =
        hosts.iter().flat_map(|host| host.addresses.iter().copied()).collect();
    for address in addresses {
        request(RTM_NEWADDR, ADD, &new_address(address))?;
    }
    Ok(())
}

/// `struct ifinfomsg`
fn link_up() -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(LO.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    body
}

/// `struct ifaddrmsg` and the address, which on an interface without a peer is both ends.
fn new_address(address: IpAddr) -> Vec<u8> {
    let (family, bytes) = match address {
        IpAddr::V4(v4) => (AddressFamily::INET, v4.octets().to_vec()),
        IpAddr::V6(v6) => (AddressFamily::INET6, v6.octets().to_vec()),
    };
    // Families and address lengths fit a byte: 2 and 10, 4 and 16.
    let family = u8::try_from(family.as_raw()).unwrap_or_default();
    let prefix = u8::try_from(bytes.len() * 8).unwrap_or_default();
    let mut body = vec![family, prefix, IFA_F_NODAD, 0];
    body.extend(LO.to_ne_bytes());
    for kind in [IFA_LOCAL, IFA_ADDRESS] {
        let length = u16::try_from(4 + bytes.len()).unwrap_or_default();
        body.extend(length.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(&bytes);
    }
    body
}

fn request(kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    send(&socket, &message, SendFlags::empty())?;

    let mut reply = [0; 512];
    let (_, length) = recv(&socket, &mut reply[..], RecvFlags::empty())?;
    acknowledged(&reply[..length])
}

/// An acknowledgement is an error message whose errno is 0; otherwise it is negative.
fn acknowledged(reply: &[u8]) -> io::Result<()> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "malformed netlink reply");
    let kind = reply.get(4..6).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
    let errno = reply.get(HEADER..HEADER + 4).and_then(|b| b.try_into().ok());
    match (kind, errno.map(i32::from_ne_bytes)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(errno)) => Err(io::Error::from_raw_os_error(-errno)),
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_an_error_of_zero() {
        let mut reply = vec![0; 36];
        reply[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        assert!(acknowledged(&reply).is_ok());
        reply[16..20].copy_from_slice(&(-17_i32).to_ne_bytes());
        assert_eq!(acknowledged(&reply).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(acknowledged(&reply[..10]).is_err());
    }

    #[test]
    fn an_address_message_has_the_kernels_layout() {
        let body = new_address("192.0.2.10".parse().unwrap());
        assert_eq!(body.len(), 8 + 8 + 8);
        assert_eq!(body[..2], [2, 32]);
        assert_eq!(body[12..16], [192, 0, 2, 10]);
    }
}
