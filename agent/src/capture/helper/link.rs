//! How a question reaches the privileged side: by a function call. The one file that changes when
//! that side becomes a process: [`Link::ask`] then sends the question and waits for the answer.

use std::path::Path;

use super::server::Server;
use super::{Reply, Request};
use crate::capture::attach::AttachError;

/// The way to the server.
pub(super) struct Link {
    server: Server,
}

impl Link {
    /// To a server within this process, which looks for runtimes' files below `root`.
    pub(super) fn in_process(root: &Path) -> Self {
        Self { server: Server::new(root) }
    }

    /// Asks from any thread; answers come as soon as the kernel has given them.
    pub(super) fn ask(&self, request: Request<'_>) -> Result<Reply, AttachError> {
        self.server.serve(request)
    }
}
