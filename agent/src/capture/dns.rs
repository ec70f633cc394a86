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
    segment(payload).filter_map(|message| read(message, &wanted)).collect()
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

/// The messages in a TCP segment: each after its length, but for a first one whose length came in a
/// segment before. What another segment goes on with is read as far as this one has it.
fn segment(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let framed = |rest: &[u8]| rest.split_first_chunk::<2>().map(|(length, _)| length.to_owned());
    // An identifier is random, so that it may look like a length; then the message is lost.
    let begins = framed(payload).is_some_and(|length| {
        let length = usize::from(u16::from_be_bytes(length));
        length + 2 >= payload.len() || payload.get(length + 2..).is_some_and(|it| it.len() > 2)
    });
    let mut rest = payload;
    let mut bare = !begins;
    std::iter::from_fn(move || {
        if std::mem::take(&mut bare) {
            return Some(std::mem::take(&mut rest));
        }
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
        let of_owner = records.iter().filter(|record| record.name.eq_ignore_root_case(&owner));
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
