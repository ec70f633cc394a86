//! A terminal for programs that want one: a real pseudo-terminal, and what is on its screen.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// What has not been drawn by then is not drawn.
const LONGEST: Duration = Duration::from_secs(30);

/// How often the terminal is read while there is nothing on it.
const PAUSE: Duration = Duration::from_millis(10);

/// A program on a terminal of its own.
pub struct Terminal {
    ours: File,
    /// Kept open, so that what the program left on it can be read, and its modes asked.
    theirs: OwnedFd,
    child: Child,
    parser: vt100::Parser,
    raw: Vec<u8>,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal").field("screen", &self.text()).finish_non_exhaustive()
    }
}

impl Terminal {
    /// Starts a program on a terminal of so many rows and columns. `command` makes it of the words
    /// of a command line.
    pub fn start(
        words: &[String],
        (rows, columns): (u16, u16),
        command: impl FnOnce(&[&str]) -> anyhow::Result<Command>,
    ) -> anyhow::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags)?;
        unlockpt(&ours)?;
        let theirs = ioctl_tiocgptpeer(&ours, flags)?;
        resize(&theirs, rows, columns)?;
        // A session of its own, whose terminal this is: the program hears of its size and of its end.
        let mut line = vec!["setsid", "--ctty", "--wait"];
        line.extend(words.iter().map(String::as_str));
        let child = command(&line)?
            .env("TERM", "xterm-256color")
            .stdin(theirs.try_clone()?)
            .stdout(theirs.try_clone()?)
            .stderr(theirs.try_clone()?)
            .spawn()
            .context("setsid of util-linux")?;
        fcntl_setfl(&ours, fcntl_getfl(&ours)? | OFlags::NONBLOCK)?;
        let ours = File::from(ours);
        let (rows, columns) = (side(rows)?, side(columns)?);
        let parser = vt100::Parser::new(rows, columns, 0);
        Ok(Self { ours, theirs, child, parser, raw: Vec::new() })
    }

    /// Waits until the screen is as wanted.
    pub async fn until(
        &mut self,
        what: &str,
        mut is_so: impl FnMut(&vt100::Screen) -> bool,
    ) -> anyhow::Result<()> {
        let reading = async {
            while !is_so(self.parser.screen()) {
                self.read().await?;
            }
            anyhow::Ok(())
        };
        let drawn = match timeout(LONGEST, reading).await {
            Ok(drawn) => drawn,
            Err(_elapsed) => Err(anyhow::anyhow!("in vain: {what}")),
        };
        drawn.with_context(|| format!("the screen:\n{}", self.text()))
    }

    /// Waits until there is such a text on the screen.
    pub async fn shows(&mut self, text: &str) -> anyhow::Result<()> {
        self.until(text, |screen| screen.contents().contains(text)).await
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        let mut bytes = [0; 4096];
        match self.ours.read(&mut bytes) {
            Ok(0) => anyhow::bail!("the terminal has ended"),
            Ok(read) => {
                self.raw.extend_from_slice(&bytes[..read]);
                self.parser.process(&bytes[..read]);
            }
            Err(fault) if fault.kind() == ErrorKind::WouldBlock => sleep(PAUSE).await,
            Err(fault) => return Err(fault).context("read the terminal"),
        }
        Ok(())
    }

    /// Presses keys.
    pub fn press(&self, keys: &str) -> anyhow::Result<()> {
        // A few bytes always have room.
        Ok((&self.ours).write_all(keys.as_bytes())?)
    }

    /// Makes it of so many rows and columns.
    pub fn resize(&mut self, rows: u16, columns: u16) -> anyhow::Result<()> {
        self.parser.set_size(side(rows)?, side(columns)?);
        resize(&self.theirs, rows, columns)
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        self.parser.screen().contents()
    }

    /// Everything that was written to it so far.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The process id of what was started.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until the terminal is as a shell wants it (its own screen, the cursor, lines and an echo)
    /// and the program has ended; its exit code.
    pub async fn given_back(&mut self) -> anyhow::Result<Option<i32>> {
        let is_left = |screen: &vt100::Screen| !screen.alternate_screen() && !screen.hide_cursor();
        self.until("the screen of before", is_left).await?;
        let ended = timeout(LONGEST, self.child.wait()).await;
        let status = ended.with_context(|| format!("it goes on:\n{}", self.text()))??;
        let modes = tcgetattr(&self.theirs)?.local_modes;
        let wanted = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        ensure!(modes.contains(wanted), "{modes:?}");
        Ok(status.code())
    }
}

fn resize(terminal: &OwnedFd, rows: u16, columns: u16) -> anyhow::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}

fn side(length: u16) -> anyhow::Result<NonZeroU16> {
    NonZeroU16::new(length).context("a terminal has rows and columns")
}
