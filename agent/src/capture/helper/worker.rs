//! The helper's serving side: a thread for each socket the daemon has opened to it, one question
//! at a time on each. It lasts as long as the main socket, and the programs last as long as it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::net::RecvFlags;

use super::frame::{self, Frame};
use super::lanes;
use super::protocol::{Refused, Reply, Request};
use super::server::Server;

/// A daemon that breaks its questions off opens a socket anew each time, before the thread of the
/// old one has ended.
const MOST: usize = 2 * lanes::ALL;

/// Serves until the other side closes its end.
pub(super) fn run(main: &OwnedFd) -> io::Result<()> {
    let server = Arc::new(Server::new(Path::new("/")));
    let open = Arc::new(AtomicUsize::new(0));
    while let Some(frame) = frame::receive(main, RecvFlags::empty())? {
        for lane in frame.fds {
            if open.fetch_add(1, Relaxed) >= MOST {
                open.fetch_sub(1, Relaxed);
                tracing::warn!("the daemon opens more sockets than it may");
                continue;
            }
            let (server, held) = (Arc::clone(&server), Held(Arc::clone(&open)));
            let serve = move || {
                let _held = held;
                if let Err(error) = serve(&server, &lane) {
                    tracing::debug!(%error, "a socket of the daemon's");
                }
            };
            std::thread::Builder::new().name("weir-helper".to_owned()).spawn(serve)?;
        }
    }
    server.end();
    Ok(())
}

/// Counts a thread for as long as it runs, however it ends.
struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn serve(server: &Server, lane: &OwnedFd) -> io::Result<()> {
    while let Some(frame) = frame::receive(lane, RecvFlags::empty())? {
        let (answer, fds) = answer(server, &frame);
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        frame::send(lane, &answer, &fds)?;
    }
    Ok(())
}

fn answer(server: &Server, question: &Frame) -> (Vec<u8>, Vec<OwnedFd>) {
    let answer = serde_json::from_slice::<Request>(&question.bytes)
        .map_err(|error| Refused::Other(format!("not a question: {error}")))
        .and_then(|request| server.serve(request).map_err(Refused::from));
    let (reply, fds): (Result<Reply, Refused>, _) = match answer {
        Ok(answer) => (Ok(answer.reply), answer.fds),
        Err(refused) => (Err(refused), Vec::new()),
    };
    match serde_json::to_vec(&reply) {
        Ok(bytes) => (bytes, fds),
        Err(error) => {
            // The asking side cannot read nothing, and says so.
            tracing::error!(%error, "an answer cannot be sent");
            (Vec::new(), Vec::new())
        }
    }
}
