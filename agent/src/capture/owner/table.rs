//! One socket by its addresses, from the tables in `/proc/net`: for kernels and sandboxes without
//! `sock_diag`. Reads every socket of the namespace.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};

use super::Socket;

/// Finds the socket whose own address is `local` and whose peer is `remote`; both unmapped.
pub(super) fn socket(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Socket>> {
    if local.is_ipv4() {
        let found = find("/proc/self/net/tcp", local.ip(), local.port(), remote)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    // A socket of version 6 that talks to version 4 stands here, with mapped addresses.
    match find("/proc/self/net/tcp6", local.ip(), local.port(), remote) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found,
    }
}

fn find(table: &str, ip: IpAddr, port: u16, remote: SocketAddr) -> io::Result<Option<Socket>> {
    let mut lines = BufReader::new(File::open(table)?).lines();
    lines.next().transpose()?;
    for line in lines {
        if let Some((from, to, socket)) = parse(&line?)
            && from == SocketAddr::new(ip, port)
            && to == remote
        {
            return Ok(Some(socket));
        }
    }
    Ok(None)
}

/// `sl local remote state queues timer retransmits uid timeout inode …`
fn parse(line: &str) -> Option<(SocketAddr, SocketAddr, Socket)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
    let uid = fields.nth(4)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    Some((local, remote, Socket { inode, uid, cookie: None }))
}

/// `0100007F:1F90`: the address as words of the host's byte order, the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let mut bytes = Vec::with_capacity(16);
    for at in (0..words.len()).step_by(8) {
        let word = u32::from_str_radix(words.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => IpAddr::from(four),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_tables() {
        let four = "   0: 0100007F:1F90 0200007F:C350 01 00000000:00000000 00:00000000 00000000  \
                    1000        0 27574 2 0000000000000000 20 4 30 10 -1";
        let (local, remote, socket) = parse(four).unwrap();
        assert_eq!(local, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(remote, "127.0.0.2:50000".parse().unwrap());
        assert_eq!(socket, Socket { inode: 27574, uid: 1000, cookie: None });

        let six = "1: 00000000000000000000000001000000:0050 0000000000000000FFFF00000100007F:0051 \
                   01 0:0 0:0 0 0 0 9 1";
        let (local, remote, _) = parse(six).unwrap();
        assert_eq!(local, "[::1]:80".parse().unwrap());
        assert_eq!(remote, "127.0.0.1:81".parse().unwrap());

        assert_eq!(parse("  sl  local_address rem_address   st tx_queue"), None);
        assert_eq!(parse(""), None);
    }
}
