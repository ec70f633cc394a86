//! How a question reaches the privileged side: by a function call within this process, or over
//! sockets to the helper process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::net::{RecvFlags, sockopt};
use tokio::sync::watch;

use super::frame;
use super::lanes::Lanes;
use super::protocol::{Answer, Refused, Reply, Request};
use super::server::Server;
use super::socket;
use crate::capture::error::AttachError;
use crate::capture::events;
use crate::drain::Drain;

/// How long the first serving process may take to be there.
const START: Duration = Duration::from_secs(10);

/// How the helper process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It answers: the one with this number.
    Up(u64),
    /// It is gone, and with it the programs; another is on its way.
    Gone,
    /// It is gone, and nobody is left to start another.
    Lost,
}

/// The way to the server.
pub(super) enum Link {
    Within(Box<Server>),
    Process(Process),
}

/// The helper process.
pub(super) struct Process {
    lanes: Mutex<Option<Arc<Lanes>>>,
    keeper: OwnedFd,
    /// The keeper, reaped when it ends.
    child: Mutex<Child>,
    standing: watch::Sender<Standing>,
}

impl Link {
    /// To a server within this process, which looks for runtimes' files below `root`.
    pub(super) fn in_process(root: &Path) -> Self {
        Self::Within(Box::new(Server::new(root)))
    }

    /// To a process that `command` starts, with its end of a socket as standard input.
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        let (keeper, theirs) = frame::pair()?;
        let child = command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).spawn()?;
        // Its copy of their end would keep the socket open after they are gone.
        drop(command);
        sockopt::set_socket_timeout(&keeper, sockopt::Timeout::Recv, Some(START))?;
        let main = match frame::receive(&keeper, RecvFlags::empty()) {
            Ok(Some(mut frame)) => frame.fds.pop(),
            Ok(None) => return Err(io::Error::other("the helper process ended at its start")),
            Err(error) => return Err(error),
        };
        let main = main.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self::Process(Process {
            lanes: Mutex::new(Some(Arc::new(Lanes::new(main)))),
            keeper,
            child: Mutex::new(child),
            standing: watch::Sender::new(Standing::Up(0)),
        }))
    }

    /// Asks from any thread; answers come as soon as the kernel has given them.
    pub(super) fn ask(&self, request: Request) -> Result<Answer, AttachError> {
        match self {
            Self::Within(server) => server.serve(request),
            Self::Process(process) => process.ask(&request),
        }
    }
}

impl Process {
    fn ask(&self, request: &Request) -> Result<Answer, AttachError> {
        let question = serde_json::to_vec(request).map_err(io::Error::from)?;
        let Some(lanes) = self.lanes.lock().clone() else { return without(request) };
        let answer = lanes.ask(request.class(), &question, request.patience());
        match answer {
            Ok(frame) => {
                let answer: Result<Reply, Refused> =
                    serde_json::from_slice(&frame.bytes).map_err(|_| AttachError::Protocol)?;
                Ok(Answer { reply: answer?, fds: frame.fds })
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                tracing::error!("the helper process hangs: it is replaced");
                self.give_up(&lanes);
                without(request)
            }
            Err(error) => {
                tracing::debug!(%error, "the helper process does not answer");
                without(request)
            }
        }
    }

    /// Asks the keeper for a successor of this process.
    pub(super) fn launch(&self, socket: &OwnedFd) -> io::Result<()> {
        frame::send(&self.keeper, &[], &[socket.as_fd()])
    }

    fn give_up(&self, hung: &Arc<Lanes>) {
        let mut lanes = self.lanes.lock();
        // Somebody else may have given it up meanwhile, and there is another already.
        if lanes.as_ref().is_some_and(|lanes| Arc::ptr_eq(lanes, hung)) {
            *lanes = None;
            if let Err(error) = frame::send(&self.keeper, &[], &[]) {
                tracing::error!(%error, "the helper's keeper cannot be told");
            }
        }
    }

    /// How the process is, from here on.
    pub(super) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Follows the process's ends and beginnings until the agent is told to finish.
    pub(super) fn follow(this: &Arc<Link>, drain: &Drain) -> io::Result<()> {
        let Link::Process(process) = &**this else { return Ok(()) };
        let keeper = events::watch(process.keeper.try_clone()?)?;
        let (this, signal) = (Arc::clone(this), drain.clone());
        drain.spawn(async move {
            let Link::Process(process) = &*this else { return };
            let mut number = 0;
            let following = async {
                loop {
                    process.until_gone().await;
                    process.standing.send_replace(Standing::Gone);
                    let next = loop {
                        let Ok(mut ready) = keeper.readable().await else { return };
                        match frame::receive(&process.keeper, RecvFlags::DONTWAIT) {
                            Ok(Some(mut frame)) => break frame.fds.pop(),
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                                ready.clear_ready();
                            }
                            Ok(None) | Err(_) => break None,
                        }
                    };
                    let Some(main) = next else {
                        tracing::error!("the helper's keeper is gone: nothing is captured");
                        // Reaps it.
                        drop(process.child.lock().try_wait());
                        process.standing.send_replace(Standing::Lost);
                        return;
                    };
                    *process.lanes.lock() = Some(Arc::new(Lanes::new(main)));
                    number += 1;
                    process.standing.send_replace(Standing::Up(number));
                }
            };
            tokio::select! {
                () = following => {}
                () = signal.signalled() => {}
            }
        });
        Ok(())
    }

    /// Until the process has ended, or was given up.
    async fn until_gone(&self) {
        let Some(lanes) = self.lanes.lock().clone() else { return };
        let watched = lanes.watched().and_then(events::watch);
        drop(lanes);
        if let Ok(watched) = watched {
            // It never sends anything here: readable is closed.
            drop(watched.readable().await);
        }
        *self.lanes.lock() = None;
    }
}

/// What can be done without: the programs are gone with the helper, or are on their way, and know
/// this process, so an ordinary socket is not led back to us. Never one of ours in place of one in
/// another network namespace: that would be a way out for whoever has none.
fn without(request: &Request) -> Result<Answer, AttachError> {
    match request {
        Request::Socket(wish) if wish.netns.is_none() => {
            let fds = vec![socket::open(*wish, false)?];
            Ok(Answer { reply: Reply::Socket, fds })
        }
        _ => Err(AttachError::Gone),
    }
}

#[cfg(test)]
mod tests {
    use super::super::socket::{Kind, Wish};
    use super::*;

    #[test]
    fn without_the_helper_nobody_is_let_out_of_another_namespace() {
        let wish = |netns| {
            Request::Socket(Wish { kind: Kind::Stream, v6: false, mark: None, device: None, netns })
        };
        assert_eq!(without(&wish(None)).unwrap().fds.len(), 1);
        assert!(matches!(without(&wish(Some(7))), Err(AttachError::Gone)));
    }
}
