//! What runs with privileges: answers one question at a time, from any thread.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;

use super::names::Names;
use super::netns::{self, Namespaces};
use super::protocol::{Answer, Reply, Request};
use super::{anatomy, freeze, holder, look, marker, socket, traits};
use crate::capture::attach::{self, Attachment};
use crate::capture::error::AttachError;
use crate::capture::listen::Listening;
use crate::capture::selftest;

/// Answers requests.
pub(super) struct Server {
    attachment: Mutex<Option<Attachment>>,
    names: Names,
    namespaces: Namespaces,
    /// Whether the programs know the daemon by its thread-group id, and not by its mark alone.
    spared: AtomicBool,
}

impl Server {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            attachment: Mutex::default(),
            names: Names::below(root),
            namespaces: Namespaces::default(),
            spared: AtomicBool::new(false),
        }
    }

    pub(super) fn serve(&self, request: Request) -> Result<Answer, AttachError> {
        Ok(match request {
            Request::Listen => {
                attach::check_privileges()?;
                let listening = Listening::open()?;
                let reply = Reply::Listening(listening.netns);
                // No copy stays here: the programs must see it when the daemon is gone.
                Answer {
                    reply,
                    fds: listening.into_sockets().into_iter().map(Into::into).collect(),
                }
            }
            Request::Attach(settings, doors) => {
                let (attachment, made) = Attachment::new(&settings, doors)?;
                self.spared.store(doors.tgid != 0, Relaxed);
                *self.attachment.lock() = Some(attachment);
                let reply =
                    Reply::Attached { capabilities: made.capabilities, spared: doors.tgid != 0 };
                Answer { reply, fds: made.maps }
            }
            Request::Spare(tgid) => {
                self.attachment.lock().as_mut().map_or(Ok(()), |it| it.spare(tgid))?;
                self.spared.store(true, Relaxed);
                Reply::Done.into()
            }
            Request::Redirect(on) => {
                self.attachment.lock().as_mut().map_or(Ok(()), |it| it.redirect(on))?;
                Reply::Done.into()
            }
            Request::Targets(networks) => {
                let mut attachment = self.attachment.lock();
                Reply::Targets(attachment.as_mut().map_or(Ok(0), |it| it.targets(&networks))?)
                    .into()
            }
            Request::Knock(cgroup, port) => {
                let knocks = selftest::knock_from_child(cgroup.as_deref(), port);
                Reply::Knocks(knocks.map_err(|error| error.to_string())).into()
            }
            Request::Add(addrs) => {
                let mut attachment = self.attachment.lock();
                Reply::Targets(attachment.as_mut().map_or(0, |it| it.add(&addrs))).into()
            }
            Request::Hosts(hosts) => {
                let mut attachment = self.attachment.lock();
                Reply::Targets(attachment.as_mut().map_or(0, |it| it.hosts(&hosts))).into()
            }
            Request::Choose(wanted) => {
                let mut attachment = self.attachment.lock();
                Reply::Targets(attachment.as_mut().map_or(Ok(0), |it| it.choose(&wanted))?).into()
            }
            Request::Statistics => {
                let found = self.attachment.lock().as_ref().map(Attachment::statistics);
                Reply::Statistics(found.unwrap_or_default()).into()
            }
            Request::Guard(netns) => {
                let mut attachment = self.attachment.lock();
                let beat = attachment.as_mut().map_or(Ok(None), |it| it.guard(netns))?;
                Answer { reply: Reply::Guarded, fds: beat.into_iter().collect() }
            }
            Request::Detach => {
                self.end();
                Reply::Done.into()
            }
            Request::Ping => Reply::Done.into(),
            Request::Program => {
                Reply::Program(self.attachment.lock().as_ref().map(Attachment::connect)).into()
            }
            Request::GiveWay => {
                // What the successor's programs do not know by its owner, they know by its mark.
                self.spared.store(false, Relaxed);
                self.attachment.lock().as_mut().map_or(Ok(()), Attachment::give_way)?;
                Reply::Done.into()
            }
            Request::Identify(wanted) => Reply::Sight(look::identify(&wanted)).into(),
            Request::Vouched { pid, start_ticks, fingerprint } => {
                Reply::Vouched(marker::vouched(pid, start_ticks, &fingerprint)).into()
            }
            Request::Traits { pid, start_ticks } => {
                Reply::Traits(traits::of(pid, start_ticks)).into()
            }
            Request::Anatomy { pid, start_ticks } => {
                Reply::Anatomy(anatomy::of(pid, start_ticks)).into()
            }
            Request::Holder { inode, uid, recent } => {
                let recent = holder::among(recent, inode);
                Reply::Holder(recent.or_else(|| holder::of(inode, uid))).into()
            }
            Request::Container(id) => Reply::Name(self.names.container(&id)).into(),
            Request::Pod(uid) => Reply::Name(self.names.pod(&uid)).into(),
            Request::Socket(wish) => {
                let spared = self.spared.load(Relaxed);
                let socket = self.namespaces.socket(wish.netns, || socket::open(wish, spared))?;
                Answer { reply: Reply::Socket, fds: vec![socket] }
            }
            Request::Enter(entrance) => match self.namespaces.enter(entrance) {
                Ok(opened) => {
                    let (entered, fds) = opened.into_parts();
                    Answer { reply: Reply::Entered(Ok(entered)), fds }
                }
                Err(error) => Reply::Entered(Err(error)).into(),
            },
            Request::Leave(number) => {
                self.namespaces.leave(number);
                Reply::Done.into()
            }
            Request::Inhabited(below) => {
                Reply::Inhabited(netns::inhabited(below.as_deref())?).into()
            }
            Request::Freezable(target) => Reply::Frozen(freeze::freezable(&target)).into(),
            Request::Freeze(target) => Reply::Frozen(freeze::freeze(&target)).into(),
            Request::Thaw(path) => Reply::Frozen(freeze::thaw(&path).map(|()| path)).into(),
        })
    }

    /// Detaches the programs.
    pub(super) fn end(&self) {
        *self.attachment.lock() = None;
    }
}
