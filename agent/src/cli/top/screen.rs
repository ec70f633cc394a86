//! The terminal: taken over, and given back as it was, whatever happens.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::{Hide, Show};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::super::{Exit, Fault};

/// Whether there is a screen to draw on and there are keys to read.
pub(super) fn check() -> Result<(), Fault> {
    #[expect(clippy::disallowed_methods, reason = "the CLI reads the environment")]
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let what = if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        "weir top needs a terminal"
    } else if dumb {
        "weir top needs a terminal that can move its cursor (TERM is dumb)"
    } else {
        return Ok(());
    };
    Err(Fault {
        exit: Exit::Usage,
        what: what.to_owned(),
        fix: Some("elsewhere: weir status --watch, or for programs: weir ps --json".to_owned()),
    })
}

/// What the terminal was like, and is made like again: once, by whoever comes first.
#[derive(Debug)]
struct Modes {
    input: OwnedFd,
    output: OwnedFd,
    before: Termios,
    left: AtomicBool,
}

impl Modes {
    /// Keys come one by one and unseen, on a screen of our own.
    fn enter(input: OwnedFd, output: OwnedFd) -> io::Result<Arc<Self>> {
        let before = tcgetattr(&input)?;
        let modes = Arc::new(Self { input, output, before, left: AtomicBool::new(false) });
        let entered = modes.take_over();
        if entered.is_err() {
            modes.leave();
        }
        entered.map(|()| modes)
    }

    fn take_over(&self) -> io::Result<()> {
        let mut raw = self.before.clone();
        raw.make_raw();
        tcsetattr(&self.input, OptionalActions::Now, &raw)?;
        let mut out = self.writer()?;
        execute!(out, EnterAlternateScreen, Hide)
    }

    fn leave(&self) {
        if self.left.swap(true, Ordering::SeqCst) {
            return;
        }
        // A terminal that is gone needs nothing back, and there is nobody to be told.
        if let Ok(mut out) = self.writer() {
            drop(execute!(out, LeaveAlternateScreen, Show));
        }
        tcsetattr(&self.input, OptionalActions::Now, &self.before).ok();
    }

    fn writer(&self) -> io::Result<BufWriter<File>> {
        Ok(BufWriter::new(File::from(self.output.try_clone()?)))
    }
}

/// Gives the terminal back when it is dropped, and before a panic of this thread is reported.
#[derive(Debug)]
struct Guard(Arc<Modes>);

impl Guard {
    fn set(modes: Arc<Modes>) -> Self {
        let taken = Arc::clone(&modes);
        let own = std::thread::current().id();
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // On the screen of our own the report would vanish with it. Other threads' panics do
            // not end the drawing.
            if std::thread::current().id() == own {
                taken.leave();
            }
            report(panic);
        }));
        Self(modes)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// The terminal while it is ours. Its size is that of the last event of a change, so that what is seen
/// in a new size was drawn after that event. A key that comes together with the signal of the change is
/// read with the next one only: of the two crossterm 0.29 looks at the signal.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<File>>>,
    size: (u16, u16),
    _guard: Guard,
}

impl Screen {
    /// Takes over the terminal of standard input and output.
    pub(super) fn enter() -> io::Result<Self> {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        let guard = Guard::set(Modes::enter(input, output)?);
        let size = crossterm::terminal::size()?;
        let options = TerminalOptions { viewport: Viewport::Fixed(area(size)) };
        let backend = CrosstermBackend::new(guard.0.writer()?);
        let terminal = Terminal::with_options(backend, options)?;
        Ok(Self { terminal, size, _guard: guard })
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> (u16, u16) {
        self.size
    }

    /// The terminal has so many columns and rows now.
    pub(super) fn resized(&mut self, size: (u16, u16)) -> io::Result<()> {
        self.size = size;
        self.terminal.resize(area(size))
    }

    /// Draws what has changed.
    pub(super) fn draw(&mut self, paint: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(paint)?;
        Ok(())
    }
}

fn area((columns, rows): (u16, u16)) -> Rect {
    Rect::new(0, 0, columns, rows)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
    use rustix::termios::LocalModes;

    use super::*;

    /// Both ends of a terminal.
    fn terminal() -> (File, OwnedFd) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).unwrap();
        unlockpt(&ours).unwrap();
        let theirs = ioctl_tiocgptpeer(&ours, flags).unwrap();
        (File::from(ours), theirs)
    }

    fn is_raw(terminal: &OwnedFd) -> bool {
        !tcgetattr(terminal).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// The first so many bytes that were written to it.
    fn written(ours: &mut File, length: usize) -> String {
        let mut text = Vec::new();
        let longest = Timespec { tv_sec: 30, tv_nsec: 0 };
        while text.len() < length {
            let mut ready = [PollFd::new(&*ours, PollFlags::IN)];
            assert_eq!(poll(&mut ready, Some(&longest)).unwrap(), 1, "{text:?}");
            let mut bytes = [0; 4096];
            let read = ours.read(&mut bytes).unwrap();
            text.extend_from_slice(&bytes[..read]);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_terminal_is_given_back_also_by_a_panic() {
        for panics in [false, true] {
            let (mut ours, theirs) = terminal();
            let copy = || theirs.try_clone().unwrap();
            let before = tcgetattr(&theirs).unwrap();
            let work = AssertUnwindSafe(|| {
                let _guard = Guard::set(Modes::enter(copy(), copy()).unwrap());
                assert!(is_raw(&theirs));
                assert!(!panics, "as it was to be");
            });
            assert_eq!(catch_unwind(work).is_err(), panics);
            assert!(!is_raw(&theirs));
            let after = tcgetattr(&theirs).unwrap();
            assert_eq!(
                (after.local_modes, after.input_modes, after.output_modes),
                (before.local_modes, before.input_modes, before.output_modes)
            );
            // Entered once and left once, with the cursor back.
            let expected = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?1049l\u{1b}[?25h";
            assert_eq!(written(&mut ours, expected.len()), expected);
        }
    }
}
