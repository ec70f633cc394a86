//! Servers beside the provider, without TLS: a model on plain HTTP, and ones that speak no HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use agent::drain::Drain;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What every HTTP request is answered with: a model's answer of 1,000 and 200 tokens.
const ANSWER: &str = "{\"id\":\"c1\",\"object\":\"chat.completion\",\"model\":\"plain\",\
    \"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hi.\"},\
    \"finish_reason\":\"stop\"}],\
    \"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":200,\"total_tokens\":1200}}";

/// How an origin behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Answers HTTP/1.1 requests, and repeats what it hears once a client has upgraded.
    Http,
    /// Repeats what it hears.
    Echo,
    /// Speaks first, then repeats what it hears.
    Banner,
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    drain: Drain,
}

/// An HTTP request as it came.
#[derive(Debug, Clone)]
struct Asked {
    head: String,
    body: Vec<u8>,
}

impl Origin {
    /// Listens on `address`.
    pub async fn start(address: SocketAddr, manner: Manner) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (drain, asked) = (Drain::new(), Arc::<Mutex<Vec<Asked>>>::default());
        let (end, log, tasks) = (drain.clone(), Arc::clone(&asked), drain.clone());
        drain.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = end.signalled() => return,
                };
                let Ok((stream, _client)) = accepted else { return };
                let (end, log) = (end.clone(), Arc::clone(&log));
                tasks.spawn(async move {
                    tokio::select! {
                        // The client's leaving is how every connection ends.
                        ended = serve(stream, manner, &log) => drop(ended),
                        () = end.signalled() => {}
                    }
                });
            }
        });
        Ok(Self { address, asked, drain })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The heads of all HTTP requests, in the order they came.
    pub fn heads(&self) -> Vec<String> {
        self.asked.lock().iter().map(|asked| asked.head.clone()).collect()
    }

    /// Their bodies.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.asked.lock().iter().map(|asked| asked.body.clone()).collect()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.drain.signal();
    }
}

async fn serve(stream: TcpStream, manner: Manner, log: &Mutex<Vec<Asked>>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    match manner {
        Manner::Http => return http(stream, log).await,
        Manner::Banner => stream.write_all(b"220 ready\r\n").await?,
        Manner::Echo => {}
    }
    echo(stream).await
}

async fn http(mut stream: BufReader<TcpStream>, log: &Mutex<Vec<Asked>>) -> io::Result<()> {
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let lower = head.to_ascii_lowercase();
        if lower.contains("\r\nupgrade: ") {
            log.lock().push(Asked { head, body: Vec::new() });
            let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                          upgrade: websocket\r\n\r\n";
            stream.write_all(switch.as_bytes()).await?;
            return echo(stream).await;
        }
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        log.lock().push(Asked { head, body });
        let length = ANSWER.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(format!("{head}{ANSWER}").as_bytes()).await?;
    }
}

async fn echo(mut stream: BufReader<TcpStream>) -> io::Result<()> {
    let mut line = Vec::new();
    while stream.read_until(b'\n', &mut line).await? > 0 {
        stream.write_all(&line).await?;
        line.clear();
    }
    Ok(())
}
