//! A client that asks a name server, and connects to what it is told as fast as it can.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::args::Args;

const PATIENCE: Duration = Duration::from_secs(5);
const PORT: u16 = 443;

/// Asks `server` for `name` over `how` (`udp`, `udp-unconnected`, `tcp`), as many `times`; connects
/// each time to the address at the end of the answer where `connect` is given. Tells the last address
/// it was told, and how many connections were accepted and how many refused.
pub(crate) fn run(args: &Args) -> Result<Value> {
    let server: SocketAddr = args.one("server")?.context("server=")?;
    let name = args.find("name").context("name=")?;
    let how = args.find("how").unwrap_or("udp");
    let times: u16 = args.one("times")?.unwrap_or(1);
    let (mut told, mut accepted, mut refused) = (None, 0, 0);
    for id in 0..times {
        let answer = ask(how, server, &question(name, id))?;
        let (_, last) = answer.split_last_chunk::<4>().context("an address")?;
        let address = Ipv4Addr::from(*last);
        told = Some(address);
        if args.find("connect").is_some() {
            match TcpStream::connect((IpAddr::V4(address), PORT)) {
                Ok(_) => accepted += 1,
                Err(_) => refused += 1,
            }
        }
    }
    Ok(json!({
        "told": told.map(|address| address.to_string()),
        "accepted": accepted,
        "refused": refused,
    }))
}

/// A question for the IPv4 addresses of a name.
fn question(name: &str, id: u16) -> Vec<u8> {
    let mut question = id.to_be_bytes().to_vec();
    question.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap_or_default());
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    question
}

fn ask(how: &str, server: SocketAddr, question: &[u8]) -> Result<Vec<u8>> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let mut answer = vec![0; 4096];
    let len = match how {
        "udp" => {
            let socket = UdpSocket::bind(any)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.connect(server)?;
            socket.send(question)?;
            socket.recv(&mut answer)?
        }
        "udp-unconnected" => {
            let socket = UdpSocket::bind(any)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.send_to(question, server)?;
            socket.recv_from(&mut answer)?.0
        }
        "tcp" => {
            let mut socket = TcpStream::connect(server)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.write_all(&u16::try_from(question.len())?.to_be_bytes())?;
            socket.write_all(question)?;
            let mut length = [0; 2];
            socket.read_exact(&mut length)?;
            let length = usize::from(u16::from_be_bytes(length));
            socket.read_exact(answer.get_mut(..length).context("too long")?)?;
            length
        }
        other => bail!("{other} is no way to ask"),
    };
    answer.truncate(len);
    Ok(answer)
}
