//! The privileged side: everything that takes capabilities, behind one small protocol.
//!
//! Threads share memory, so privileges can only be split by process. Questions and answers are plain
//! values (sockets and maps are file descriptors, which a socket can pass), so that the side that
//! answers can move into a process of its own. For now it answers in this one.

use ipnet::IpNet;

use super::Settings;
use super::attach::{self, AttachError, Attached, Attachment};
use super::listen::Listening;
use super::stats::ProgramStats;

/// What the unprivileged side may ask for.
#[derive(Clone, Copy)]
enum Request<'a> {
    /// Listeners in the caller's own network namespace.
    Listen,
    /// The programs, redirecting to these listeners.
    Attach(&'a Settings, &'a Listening),
    /// Whether to redirect.
    Redirect(bool),
    /// Where connections are wanted.
    Targets(&'a [IpNet]),
    /// The kernel's run-time statistics of the programs.
    Statistics,
    /// The programs gone.
    Detach,
}

/// The answers.
enum Reply {
    Listening(Listening),
    Attached(Box<Attached>),
    Targets(usize),
    Statistics(Vec<ProgramStats>),
    Done,
}

/// Answers requests.
#[derive(Default)]
struct Server {
    attachment: Option<Attachment>,
}

impl Server {
    fn serve(&mut self, request: Request<'_>) -> Result<Reply, AttachError> {
        match request {
            Request::Listen => {
                attach::check_privileges()?;
                Ok(Reply::Listening(Listening::open()?))
            }
            Request::Attach(settings, listening) => {
                let (attachment, attached) = Attachment::new(settings, listening)?;
                self.attachment = Some(attachment);
                Ok(Reply::Attached(Box::new(attached)))
            }
            Request::Redirect(on) => {
                self.attachment.as_mut().map_or(Ok(()), |it| it.redirect(on))?;
                Ok(Reply::Done)
            }
            Request::Targets(networks) => {
                let left_out = self.attachment.as_mut().map_or(Ok(0), |it| it.targets(networks))?;
                Ok(Reply::Targets(left_out))
            }
            Request::Statistics => {
                let found = self.attachment.as_ref().map(Attachment::statistics);
                Ok(Reply::Statistics(found.unwrap_or_default()))
            }
            Request::Detach => {
                self.attachment = None;
                Ok(Reply::Done)
            }
        }
    }
}

/// The unprivileged side's end: one method for each question.
pub(super) struct Helper {
    server: Server,
}

impl Helper {
    /// A helper within this process.
    pub(super) fn in_process() -> Self {
        Self { server: Server::default() }
    }

    pub(super) fn listen(&mut self) -> Result<Listening, AttachError> {
        match self.server.serve(Request::Listen)? {
            Reply::Listening(listening) => Ok(listening),
            _ => Err(AttachError::Protocol),
        }
    }

    pub(super) fn attach(
        &mut self,
        settings: &Settings,
        listening: &Listening,
    ) -> Result<Attached, AttachError> {
        match self.server.serve(Request::Attach(settings, listening))? {
            Reply::Attached(attached) => Ok(*attached),
            _ => Err(AttachError::Protocol),
        }
    }

    pub(super) fn redirect(&mut self, on: bool) -> Result<(), AttachError> {
        match self.server.serve(Request::Redirect(on))? {
            Reply::Done => Ok(()),
            _ => Err(AttachError::Protocol),
        }
    }

    pub(super) fn targets(&mut self, networks: &[IpNet]) -> Result<usize, AttachError> {
        match self.server.serve(Request::Targets(networks))? {
            Reply::Targets(left_out) => Ok(left_out),
            _ => Err(AttachError::Protocol),
        }
    }

    pub(super) fn statistics(&mut self) -> Result<Vec<ProgramStats>, AttachError> {
        match self.server.serve(Request::Statistics)? {
            Reply::Statistics(statistics) => Ok(statistics),
            _ => Err(AttachError::Protocol),
        }
    }

    pub(super) fn detach(&mut self) {
        if let Err(error) = self.server.serve(Request::Detach) {
            // A helper that cannot be reached is gone, and the links with it.
            tracing::debug!(%error, "detaching");
        }
    }
}
