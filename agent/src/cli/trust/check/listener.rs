//! A listener on loopback that serves TLS under a leaf of the CA, directly or behind `CONNECT`, and
//! knows whether a request came.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Connections served to one client: those that try again are not asked forever.
const CONNECTIONS: usize = 16;

/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest head read.
const HEAD: usize = 16 * 1024;

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
    content-length: 25\r\nconnection: close\r\n\r\n{\"object\":\"x\",\"data\":[]} ";

/// A listener that does not listen yet.
pub(super) struct Listener {
    socket: TcpListener,
    config: Arc<ServerConfig>,
    port: u16,
}

/// One that does.
pub(super) struct Listening {
    heard: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    port: u16,
    thread: JoinHandle<()>,
}

impl Listener {
    /// On any port.
    pub(super) fn open(config: Arc<ServerConfig>) -> io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = socket.local_addr()?.port();
        Ok(Self { socket, config, port })
    }

    /// Where it is.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Listens until it is ended.
    pub(super) fn listen(self) -> Listening {
        let (heard, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (ear, stops) = (Arc::clone(&heard), Arc::clone(&stop));
        let port = self.port;
        let thread = std::thread::spawn(move || {
            for stream in self.socket.incoming().take(CONNECTIONS) {
                if stops.load(Relaxed) {
                    break;
                }
                let (Ok(stream), config) = (stream, Arc::clone(&self.config)) else { continue };
                let ear = Arc::clone(&ear);
                // A client may hold one open while it uses another.
                std::thread::spawn(move || {
                    // How it failed is the client's to say.
                    let _told_by_the_client = serve(stream, config, &ear);
                });
            }
        });
        Listening { heard, stop, port, thread }
    }
}

impl Listening {
    /// Stops; whether a request came.
    pub(super) fn end(self) -> bool {
        self.stop.store(true, Relaxed);
        // It waits for a connection: the last is ours. Where it has taken its fill, none is needed.
        let _refused = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        let _panicked = self.thread.join();
        self.heard.load(Relaxed)
    }
}

fn serve(mut stream: TcpStream, config: Arc<ServerConfig>, heard: &AtomicBool) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut first = [0];
    stream.peek(&mut first)?;
    if first[0] != HANDSHAKE {
        head(&mut stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    }
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut tls = StreamOwned::new(connection, stream);
    head(&mut tls)?;
    heard.store(true, Relaxed);
    tls.write_all(ANSWER)?;
    tls.conn.send_close_notify();
    tls.flush()
}

/// Reads a head, to its end and no further than one byte at a time would.
fn head(stream: &mut impl Read) -> io::Result<()> {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"\r\n\r\n") {
        if read.len() == HEAD || stream.read(&mut byte)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read.push(byte[0]);
    }
    Ok(())
}
