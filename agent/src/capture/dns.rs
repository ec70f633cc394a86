//! What a name server's answer says of the hosts we want. Pure.
//!
//! Answers come as the programs saw them on their way to some process of this machine: an IP packet,
//! maybe cut short, from whoever used a name server's port. Nobody vouches for them, so they are read
//! as a hint only: what is learned here makes an address one to look at, and whoever connects there is
//! asked for the name before anything else happens. Addresses count where a chain of the same message
//! (CNAME, and what HTTPS and SVCB records point to) leads to them from a host that is wanted and was
//! asked for; other names in the message teach nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::op::{Header, MessageType, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::svcb::{SVCB, SvcParamValue};
use hickory_resolver::proto::rr::{Name, RData, Record};
use hickory_resolver::proto::serialize::binary::{BinDecodable, BinDecoder};

/// Records of one message that are read. Providers' answers hold a dozen.
const RECORDS: usize = 128;
/// Names in one chain, the host's own included.
const CHAIN: usize = 16;
/// Messages of one TCP segment that are read.
const MESSAGES: usize = 8;

const TCP: u8 = 6;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const V6_HEADER: usize = 40;

/// What one answer says of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// The host, as it is wanted.
    pub host: Arc<str>,
    /// Addresses it leads to; at least one, none twice.
    pub addrs: Vec<IpAddr>,
    /// How long they hold: the longest of them.
    pub ttl: Duration,
}

/// Reads a packet from its IP header on. `wanted` knows a host by its name in lower case, without a
/// trailing dot.
pub fn learn(packet: &[u8], wanted: impl Fn(&str) -> Option<Arc<str>>) -> Vec<Learned> {
    let Some((protocol, payload)) = transport(packet) else { return Vec::new() };
    if protocol == UDP {
        return read(payload, &wanted).into_iter().collect();
    }
    let framed: Vec<_> = segment(payload).filter_map(|it| read(it, &wanted)).collect();
    if framed.is_empty() {
        // Its length may have come in a segment of its own.
        return read(payload, &wanted).into_iter().collect();
    }
    framed
}

/// The protocol above IP, and what it carries.
fn transport(packet: &[u8]) -> Option<(u8, &[u8])> {
    let (protocol, rest) = match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet.first()? & 0xf) * 4;
            (*packet.get(9)?, packet.get(header..)?)
        }
        6 => (*packet.get(6)?, packet.get(V6_HEADER..)?),
        _ => return None,
    };
    let header = match protocol {
        UDP => UDP_HEADER,
        TCP => usize::from(rest.get(12)? >> 4) * 4,
        _ => return None,
    };
    Some((protocol, rest.get(header..)?))
}

/// The messages in a TCP segment, each after its length. What another segment goes on with is read as
/// far as this one has it.
fn segment(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (message, next) = after.split_at(length);
        rest = next;
        Some(message)
    })
    .take(MESSAGES)
}

/// Reads a message, as far as it goes.
fn read(message: &[u8], wanted: &impl Fn(&str) -> Option<Arc<str>>) -> Option<Learned> {
    let mut decoder = BinDecoder::new(message);
    let header = Header::read(&mut decoder).ok()?;
    let answers = header.metadata.message_type == MessageType::Response
        && header.metadata.response_code == ResponseCode::NoError
        && header.counts.queries == 1;
    if !answers {
        return None;
    }
    let asked = Query::read(&mut decoder).ok()?;
    // Nearly all answers are of no interest, and end here.
    let host = wanted(&plain(asked.name()))?;
    let count = usize::from(header.counts.answers)
        + usize::from(header.counts.authorities)
        + usize::from(header.counts.additionals);
    // The last one may be cut short, or of a kind that is not understood: then so are those behind it.
    let records: Vec<Record> =
        (0..count.min(RECORDS)).map_while(|_| Record::read(&mut decoder).ok()).collect();
    addresses(asked.name(), &records).map(|(addrs, ttl)| Learned { host, addrs, ttl })
}

fn plain(name: &Name) -> String {
    let mut name = name.to_ascii().to_ascii_lowercase();
    if name.ends_with('.') {
        name.pop();
    }
    name
}

/// The addresses that lead on from a name.
fn addresses(name: &Name, records: &[Record]) -> Option<(Vec<IpAddr>, Duration)> {
    let mut chain = vec![name.to_lowercase()];
    let mut found = Found::default();
    let mut at = 0;
    while let Some(owner) = chain.get(at).cloned() {
        at += 1;
        let of_owner = records.iter().filter(|record| record.name.eq_ignore_root(&owner));
        for record in of_owner {
            let next = match &record.data {
                RData::CNAME(target) => Some(&target.0),
                RData::HTTPS(service) => found.hints(&service.0, record.ttl),
                RData::SVCB(service) => found.hints(service, record.ttl),
                data => {
                    found.take(data.ip_addr(), record.ttl);
                    None
                }
            };
            if let Some(next) = next.map(Name::to_lowercase)
                && chain.len() < CHAIN
                && !chain.contains(&next)
            {
                chain.push(next);
            }
        }
    }
    let ttl = Duration::from_secs(found.ttl.into());
    (!found.addrs.is_empty()).then_some((found.addrs, ttl))
}

#[derive(Debug, Default)]
struct Found {
    addrs: Vec<IpAddr>,
    ttl: u32,
}

impl Found {
    fn take(&mut self, addrs: impl IntoIterator<Item = IpAddr>, ttl: u32) {
        for addr in addrs {
            self.ttl = self.ttl.max(ttl);
            if !self.addrs.contains(&addr) {
                self.addrs.push(addr);
            }
        }
    }

    /// Takes the addresses a service binding names, and returns the name it points to.
    fn hints<'a>(&mut self, service: &'a SVCB, ttl: u32) -> Option<&'a Name> {
        for (_, value) in &service.svc_params {
            match value {
                SvcParamValue::Ipv4Hint(hint) => {
                    self.take(hint.0.iter().map(|addr| IpAddr::V4(addr.0)), ttl);
                }
                SvcParamValue::Ipv6Hint(hint) => {
                    self.take(hint.0.iter().map(|addr| IpAddr::V6(addr.0)), ttl);
                }
                _ => {}
            }
        }
        // The root stands for the owner itself.
        (!service.target_name.is_root()).then_some(&service.target_name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOST: &str = "api.example.com";
    const A: u16 = 1;
    const CNAME: u16 = 5;
    const AAAA: u16 = 28;
    const HTTPS: u16 = 65;

    fn name(name: &str) -> Vec<u8> {
        let labels = name.split('.').filter(|label| !label.is_empty());
        let mut bytes: Vec<u8> = labels
            .flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat())
            .collect();
        bytes.push(0);
        bytes
    }

    fn a(octets: [u8; 4]) -> Vec<u8> {
        octets.to_vec()
    }

    /// A whole answer about `asked`, with records in the sections it counts.
    fn message(asked: &str, records: &[(&str, u16, u32, Vec<u8>)]) -> Vec<u8> {
        let count = u16::try_from(records.len()).unwrap().to_be_bytes();
        let mut bytes = vec![0x12, 0x34, 0x81, 0x80, 0, 1, count[0], count[1], 0, 0, 0, 0];
        bytes.extend([name(asked), vec![0, 1, 0, 1]].concat());
        for (owner, kind, ttl, data) in records {
            bytes.extend(name(owner));
            bytes.extend(kind.to_be_bytes());
            bytes.extend([0, 1]);
            bytes.extend(ttl.to_be_bytes());
            bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            bytes.extend(data);
        }
        bytes
    }

    fn udp4(payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 28];
        (packet[0], packet[9], packet[21]) = (0x45, UDP, 53);
        packet.extend(payload);
        packet
    }

    fn udp6(payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 48];
        (packet[0], packet[6], packet[41]) = (0x60, UDP, 53);
        packet.extend(payload);
        packet
    }

    /// With options, as real segments have them.
    fn tcp4(payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 52];
        (packet[0], packet[9], packet[21], packet[32]) = (0x45, TCP, 53, 0x80);
        packet.extend(payload);
        packet
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
    }

    fn learned(packet: &[u8]) -> Vec<Learned> {
        learn(packet, |host| (host == HOST).then(|| HOST.into()))
    }

    fn addrs(packet: &[u8]) -> Vec<String> {
        let learned = learned(packet);
        learned.iter().flat_map(|it| &it.addrs).map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_of_a_wanted_host_are_learned_over_both_protocols() {
        let six = "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec();
        let message = message(
            "API.Example.com",
            &[(HOST, A, 30, a([192, 0, 2, 1])), ("api.EXAMPLE.com", AAAA, 90, six)],
        );
        for packet in [udp4(&message), udp6(&message), tcp4(&framed(&message)), tcp4(&message)] {
            let learned = learned(&packet);
            assert_eq!(learned.len(), 1);
            assert_eq!((&*learned[0].host, learned[0].ttl), (HOST, Duration::from_secs(90)));
            assert_eq!(addrs(&packet), ["192.0.2.1", "2001:db8::1"]);
        }
    }

    #[test]
    fn chains_are_followed_and_what_hangs_on_none_is_not() {
        let message = message(
            HOST,
            &[
                ("edge.cdn.example", A, 30, a([192, 0, 2, 2])),
                (HOST, CNAME, 30, name("api.example.com.cdn.example")),
                ("api.example.com.cdn.example", CNAME, 30, name("edge.cdn.example")),
                ("edge.cdn.example", CNAME, 30, name(HOST)),
                ("bank.example", A, 30, a([192, 0, 2, 66])),
            ],
        );
        assert_eq!(addrs(&udp4(&message)), ["192.0.2.2"]);
    }

    #[test]
    fn service_bindings_tell_addresses_and_further_names() {
        // Priority 1, another name, ipv4hint with two addresses.
        let hints = [4, 0, 8, 192, 0, 2, 3, 192, 0, 2, 4];
        let service = [vec![0, 1], name("svc.example.net"), vec![0], hints.to_vec()].concat();
        let message = message(
            HOST,
            &[(HOST, HTTPS, 30, service), ("svc.example.net", A, 30, a([192, 0, 2, 5]))],
        );
        assert_eq!(addrs(&udp4(&message)), ["192.0.2.3", "192.0.2.4", "192.0.2.5"]);
    }

    #[test]
    fn other_questions_refusals_and_questions_teach_nothing() {
        let about = |asked: &str| message(asked, &[(HOST, A, 30, a([192, 0, 2, 1]))]);
        assert!(learned(&udp4(&about("other.example.com"))).is_empty());
        let mut refused = about(HOST);
        refused[3] = 0x85;
        assert!(learned(&udp4(&refused)).is_empty());
        let mut question = about(HOST);
        question[2] = 1;
        assert!(learned(&udp4(&question)).is_empty());
        assert!(learned(&udp4(&message(HOST, &[]))).is_empty());
    }

    #[test]
    fn an_answer_cut_short_teaches_what_it_has() {
        let whole =
            message(HOST, &[(HOST, A, 30, a([192, 0, 2, 1])), (HOST, A, 30, a([192, 0, 2, 2]))]);
        assert_eq!(addrs(&udp4(&whole[..whole.len() - 1])), ["192.0.2.1"]);
        let segment = framed(&whole);
        assert_eq!(addrs(&tcp4(&segment[..segment.len() - 1])), ["192.0.2.1"]);
        let two = [framed(&message("other.example.com", &[])), framed(&whole)].concat();
        assert_eq!(addrs(&tcp4(&two)), ["192.0.2.1", "192.0.2.2"]);
    }

    #[test]
    fn a_chain_without_end_ends() {
        let names: Vec<String> = (0..40).map(|n| format!("n{n}.example")).collect();
        let mut records = vec![(HOST, CNAME, 30, name(&names[0]))];
        for pair in names.windows(2) {
            records.push((&pair[0], CNAME, 30, name(&pair[1])));
        }
        records.push((&names[39], A, 30, a([192, 0, 2, 9])));
        assert!(addrs(&udp4(&message(HOST, &records))).is_empty(), "too long to be true");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..120) {
            learn(&bytes, |_| Some(HOST.into()));
            for packet in [udp4(&bytes), udp6(&bytes), tcp4(&bytes)] {
                learn(&packet, |_| Some(HOST.into()));
            }
            let mut damaged = udp4(&message(
                HOST,
                &[(HOST, CNAME, 30, name("b.example")), ("b.example", A, 30, a([192, 0, 2, 1]))],
            ));
            let at = at % damaged.len();
            damaged[at] ^= bytes.first().copied().unwrap_or(1);
            learn(&damaged, |_| Some(HOST.into()));
        }
    }
}
