//! What runs with privileges: answers one question at a time, from any thread.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;

use super::names::Names;
use super::{Reply, Request, anatomy, freeze, holder, look, marker, socket, traits};
use crate::capture::attach::{self, AttachError, Attachment};
use crate::capture::listen::Listening;

/// Answers requests.
pub(super) struct Server {
    attachment: Mutex<Option<Attachment>>,
    names: Names,
    /// Whether the programs know this process by its thread-group id, and not by its mark alone.
    spared: AtomicBool,
}

impl Server {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            attachment: Mutex::default(),
            names: Names::below(root),
            spared: AtomicBool::new(false),
        }
    }

    pub(super) fn serve(&self, request: Request<'_>) -> Result<Reply, AttachError> {
        Ok(match request {
            Request::Listen => {
                attach::check_privileges()?;
                Reply::Listening(Listening::open()?)
            }
            Request::Attach(settings, listening) => {
                let (attachment, attached) = Attachment::new(settings, listening)?;
                self.spared.store(attached.spared, Relaxed);
                *self.attachment.lock() = Some(attachment);
                Reply::Attached(Box::new(attached))
            }
            Request::Spare(tgid) => {
                self.attachment.lock().as_mut().map_or(Ok(()), |it| it.spare(tgid))?;
                self.spared.store(true, Relaxed);
                Reply::Done
            }
            Request::Redirect(on) => {
                self.attachment.lock().as_mut().map_or(Ok(()), |it| it.redirect(on))?;
                Reply::Done
            }
            Request::Targets(networks) => {
                let mut attachment = self.attachment.lock();
                Reply::Targets(attachment.as_mut().map_or(Ok(0), |it| it.targets(networks))?)
            }
            Request::Statistics => {
                let found = self.attachment.lock().as_ref().map(Attachment::statistics);
                Reply::Statistics(found.unwrap_or_default())
            }
            Request::Detach => {
                *self.attachment.lock() = None;
                Reply::Done
            }
            Request::Identify(wanted) => Reply::Sight(look::identify(wanted)),
            Request::Vouched { pid, start_ticks, fingerprint } => {
                Reply::Vouched(marker::vouched(pid, start_ticks, fingerprint))
            }
            Request::Traits { pid, start_ticks } => Reply::Traits(traits::of(pid, start_ticks)),
            Request::Anatomy { pid, start_ticks } => Reply::Anatomy(anatomy::of(pid, start_ticks)),
            Request::Holder { inode, uid, recent } => {
                let recent = holder::among(recent.iter().copied(), inode);
                Reply::Holder(recent.or_else(|| holder::of(inode, uid)))
            }
            Request::Container(id) => Reply::Name(self.names.container(id)),
            Request::Pod(uid) => Reply::Name(self.names.pod(uid)),
            Request::Socket(wish) => Reply::Socket(socket::open(wish, self.spared.load(Relaxed))?),
            Request::Freezable(target) => Reply::Frozen(freeze::freezable(target)),
            Request::Freeze(target) => Reply::Frozen(freeze::freeze(target)),
            Request::Thaw(path) => Reply::Frozen(freeze::thaw(path).map(|()| path.to_owned())),
        })
    }
}
