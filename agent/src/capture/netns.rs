//! Network namespaces other than the agent's own: listeners inside, and where what they accept was
//! going.
//!
//! The programs redirect wherever a listener with our mark lives in the caller's namespace, so that
//! opening one is all it takes, and closing it all it takes to end it. It has the same port in every
//! namespace: the programs compare ports of every connection and every getpeername(2) of the host,
//! and a look-up in place of that would cost all of them. Where the port is taken inside, nothing is
//! redirected there.

use std::io;
use std::net::{SocketAddr, TcpListener};

use super::flows::Flows;
use super::helper::{self, Entrance, Helper};
use super::listen;
use super::origin::{Origin, Origins};

/// Our listeners in another network namespace. Once it is dropped no socket leaves from there any
/// more.
#[derive(Debug)]
pub struct Inside {
    helper: Helper,
    number: u64,
    inode: u64,
    flows: Flows,
    listeners: Vec<TcpListener>,
}

impl Inside {
    /// Enters the namespace of process `pid` that began at `start_ticks`. It must have the cookie
    /// `netns`, where that is known.
    pub(super) fn enter(
        helper: &Helper,
        own: &Flows,
        (pid, start_ticks): (u32, u64),
        netns: Option<u64>,
    ) -> Result<Self, helper::EnterError> {
        let entrance = Entrance { pid, start_ticks, netns, ports: own.ports() };
        let opened = helper.enter(entrance)?;
        let helper::Inside { number, netns, inode, listeners, diag } = opened;
        let flows = own.inside(netns, diag);
        Ok(Self { helper: helper.clone(), number, inode, flows, listeners })
    }

    /// Cookie of the namespace.
    pub fn netns(&self) -> u64 {
        self.flows.netns()
    }

    /// Its inode.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// The listeners, which are closed when the last copy of them is: they are given away here.
    pub fn take_listeners(&mut self) -> io::Result<Vec<TcpListener>> {
        // What came over a socket has a low number.
        std::mem::take(&mut self.listeners).iter().map(listen::outermost).collect()
    }
}

impl Origins for Inside {
    fn take(&self, client: SocketAddr) -> Option<Origin> {
        self.flows.take(client)
    }

    fn elsewhere(&self) -> Option<u64> {
        Some(self.number)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.helper.leave(self.number);
    }
}
