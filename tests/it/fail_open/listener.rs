//! The agent lives, its programs are attached, and its listeners are not there any more.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use anyhow::{Context, ensure};
use harness::{Stage, on_stage, until};
use rustix::net::{Shutdown, shutdown, sockopt};
use rustix::process::{ForeignRawFd, Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::is_metered;
use crate::kernel::netns_cookie;

/// A listener of the daemon's that connections are led to.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    /// Whether it is in another network namespace than the daemon.
    pub(crate) elsewhere: bool,
    socket: OwnedFd,
}

fn doors(stage: &Stage) -> anyhow::Result<Vec<Door>> {
    let here = netns_cookie(&TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    let pid = stage.daemon()?.pid().context("it runs")?;
    let process = Pid::from_raw(i32::try_from(pid)?).context("a process id is not 0")?;
    let process = pidfd_open(process, PidfdFlags::empty())?;
    let mut found = Vec::new();
    for file in std::fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        let target = std::fs::read_link(file.path()).unwrap_or_default();
        if !target.to_string_lossy().starts_with("socket:") {
            continue;
        }
        let number: ForeignRawFd = file.file_name().to_string_lossy().parse()?;
        let Ok(socket) = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) else { continue };
        if !sockopt::socket_acceptconn(&socket).unwrap_or(false) {
            continue;
        }
        let listener = TcpListener::from(socket);
        // Not the admin socket, which has no such address, nor what users connect to themselves.
        let Ok(address) = listener.local_addr() else { continue };
        let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        if loopback.contains(&address.ip()) && !matches!(address.port(), 4180 | 4181) {
            let elsewhere = netns_cookie(&listener) != here;
            found.push(Door { address, elsewhere, socket: listener.into() });
        }
    }
    ensure!(!found.is_empty(), "the daemon has listeners");
    Ok(found)
}

/// Closes those that `which` picks, as if the daemon had: for all their copies.
pub(crate) fn close(stage: &Stage, which: impl Fn(&Door) -> bool) -> anyhow::Result<()> {
    let mut closed = 0;
    for door in doors(stage)?.into_iter().filter(which) {
        // The second of its copies is closed already.
        closed += u32::from(shutdown(&door.socket, Shutdown::Both).is_ok());
    }
    ensure!(closed > 0, "nothing was closed");
    Ok(())
}

/// From the closed door on every call succeeds, the first of them directly, and soon they are
/// metered again.
async fn recovers(stage: &Stage, more: &[&str]) -> anyhow::Result<()> {
    assert!(!is_metered(stage, more).await?, "nobody was there to meter it");
    until("a metered connection", async || Ok(is_metered(stage, more).await?.then_some(())))
        .await?;
    let status = stage.daemon()?.read(&["status"]).await?;
    assert_eq!(status["capture"]["on"], true, "{status}");
    assert_eq!(status["state"], "healthy", "{status}");
    Ok(())
}

#[test]
fn closed_listeners_send_connections_direct_until_there_are_others() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.start(&stage.config()).await?;
        for round in 0..2 {
            assert!(is_metered(stage, &[]).await?, "round {round}");
            close(stage, |_any| true)?;
            recovers(stage, &[]).await?;
        }
        // The second of the two is noticed as well as the first.
        close(stage, |door| door.address.is_ipv6())?;
        recovers(stage, &["-6"]).await?;
        assert!(is_metered(stage, &["-4"]).await?);
        Ok(())
    })
}
