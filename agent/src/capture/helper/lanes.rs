//! The asking side's sockets: a question takes one for itself until it is answered, so that many
//! are in flight at once and none waits behind a slow one of another kind.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::net::{RecvFlags, sockopt};

use super::frame::{self, Frame};
use super::protocol::Class;

/// How many questions of each kind are in flight at once; the next wait their turn.
const SOCKETS: usize = 4;
const LOOKS: usize = 8;
const SEARCHES: usize = 4;
const CONTROLS: usize = 2;

/// Most sockets that one asking side opens.
pub(super) const ALL: usize = SOCKETS + LOOKS + SEARCHES + CONTROLS;

/// The ways to one helper process.
#[derive(Debug)]
pub(super) struct Lanes {
    /// Over it the helper gets its ends of the others; closed, it tells the helper to end.
    main: OwnedFd,
    sockets: Pool,
    looks: Pool,
    searches: Pool,
    controls: Pool,
}

#[derive(Debug)]
struct Pool {
    state: Mutex<State>,
    freed: Condvar,
    most: usize,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Lane>,
    open: usize,
}

#[derive(Debug)]
struct Lane {
    socket: OwnedFd,
    patience: Duration,
}

impl Lanes {
    /// To the helper at the other end of `main`.
    pub(super) fn new(main: OwnedFd) -> Self {
        let pool = |most| Pool { state: Mutex::default(), freed: Condvar::new(), most };
        Self {
            main,
            sockets: pool(SOCKETS),
            looks: pool(LOOKS),
            searches: pool(SEARCHES),
            controls: pool(CONTROLS),
        }
    }

    /// A copy of the main socket, to be watched for its end.
    pub(super) fn watched(&self) -> io::Result<OwnedFd> {
        self.main.try_clone()
    }

    /// Asks, and waits for the answer; `TimedOut` where it does not come in time.
    pub(super) fn ask(
        &self,
        class: Class,
        question: &[u8],
        patience: Duration,
    ) -> io::Result<Frame> {
        let pool = match class {
            Class::Socket => &self.sockets,
            Class::Look => &self.looks,
            Class::Search => &self.searches,
            Class::Control => &self.controls,
        };
        let mut lane = pool.take(&self.main, patience)?;
        let answer = lane.exchange(question, patience);
        // One whose answer is outstanding would hand it to the next question.
        pool.release(answer.is_ok().then_some(lane));
        answer
    }
}

impl Pool {
    fn take(&self, main: &OwnedFd, patience: Duration) -> io::Result<Lane> {
        let mut state = self.state.lock();
        loop {
            if let Some(lane) = state.idle.pop() {
                return Ok(lane);
            }
            if state.open < self.most {
                state.open += 1;
                drop(state);
                return Lane::open(main).inspect_err(|_error| self.release(None));
            }
            if self.freed.wait_for(&mut state, patience).timed_out() {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, "too many questions"));
            }
        }
    }

    fn release(&self, lane: Option<Lane>) {
        let mut state = self.state.lock();
        match lane {
            Some(lane) => state.idle.push(lane),
            None => state.open -= 1,
        }
        self.freed.notify_one();
    }
}

impl Lane {
    fn open(main: &OwnedFd) -> io::Result<Self> {
        let (socket, theirs) = frame::pair()?;
        frame::send(main, &[], &[theirs.as_fd()])?;
        Ok(Self { socket, patience: Duration::ZERO })
    }

    fn exchange(&mut self, question: &[u8], patience: Duration) -> io::Result<Frame> {
        if self.patience != patience {
            for way in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
                sockopt::set_socket_timeout(&self.socket, way, Some(patience))?;
            }
            self.patience = patience;
        }
        frame::send(&self.socket, question, &[])?;
        match frame::receive(&self.socket, RecvFlags::empty()) {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::ErrorKind::TimedOut.into())
            }
            Err(error) => Err(error),
        }
    }
}
