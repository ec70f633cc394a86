//! The mode asked for, the mode in effect, and the switches between them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;

use super::kept::{self, Kept};
use super::kernel::Kernel;
use crate::config::Mode;
use crate::downstream::Front;

/// Switches modes.
pub(super) struct Modes {
    kept: PathBuf,
    file: Mutex<Mode>,
    wanted: Mutex<Mode>,
    front: Arc<Front>,
    kernel: Option<Arc<Kernel>>,
}

/// The mode in effect and, where it is not the one asked for, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Effective {
    /// In effect.
    pub mode: Mode,
    /// Why it is less than asked for.
    pub reason: Option<String>,
}

/// What a mode comes to.
fn effective(wanted: Mode, authority: bool, trusted: bool) -> Effective {
    let terminates = matches!(wanted, Mode::Meter | Mode::Enforce);
    let less = |reason: &str| Effective { mode: Mode::Observe, reason: Some(reason.to_owned()) };
    match (terminates, authority, trusted) {
        (true, false, _) => less("there is no certificate authority"),
        (true, true, false) => less("no client trusts the CA yet: weir trust install"),
        _ => Effective { mode: wanted, reason: None },
    }
}

impl Modes {
    /// Reads what `weir mode` last said, which holds until the file says something new.
    pub(super) fn new(
        file: Mode,
        state_dir: &Path,
        front: Arc<Front>,
        kernel: Option<Arc<Kernel>>,
    ) -> Self {
        let kept = state_dir.join("mode.json");
        let said = kept::read(&kept).and_then(|said: Kept<Mode>| said.holds(file));
        let wanted = said.unwrap_or(file);
        Self { kept, file: Mutex::new(file), wanted: Mutex::new(wanted), front, kernel }
    }

    /// The mode asked for.
    pub(super) fn wanted(&self) -> Mode {
        *self.wanted.lock()
    }

    /// Whether `weir mode` overrides the file.
    pub(super) fn overrides_file(&self) -> bool {
        self.wanted() != *self.file.lock()
    }

    /// The mode in effect.
    pub(super) fn effective(&self) -> Effective {
        let trusted = self.front.client.trust.is_expected();
        effective(self.wanted(), self.front.client.leaves.is_some(), trusted)
    }

    /// Asks for another mode, and keeps it for the next start.
    pub(super) fn set(&self, mode: Mode) -> io::Result<()> {
        kept::write(&self.kept, &Kept { said: mode, file: *self.file.lock() })?;
        *self.wanted.lock() = mode;
        self.apply();
        Ok(())
    }

    /// Takes the file's mode over. Where it is another one than before, it overtakes what `weir mode`
    /// said, for good.
    pub(super) fn take(&self, file: Mode) {
        let before = std::mem::replace(&mut *self.file.lock(), file);
        if before != file {
            *self.wanted.lock() = file;
            match std::fs::remove_file(&self.kept) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, "what weir mode said is still kept, and no longer holds");
                }
                _ => {}
            }
        }
        self.apply();
    }

    /// Puts the mode into effect: on new connections at once; those that exist go on as they are.
    pub(super) fn apply(&self) {
        let wanted = self.wanted();
        // Clients that bring their own trust (`weir run`) are metered even where the host as a
        // whole is only observed; who does not is told apart connection by connection.
        let terminate = matches!(wanted, Mode::Meter | Mode::Enforce);
        self.front.client.terminate.store(terminate, Relaxed);
        self.front.rules.load().policies.act(wanted == Mode::Enforce);
        if let Some(kernel) = &self.kernel {
            let redirect = matches!(self.effective().mode, Mode::Meter | Mode::Enforce);
            kernel.watch(wanted != Mode::Off);
            kernel.redirect(redirect);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metering_needs_an_authority_and_clients_that_trust_it() {
        for (wanted, authority, trusted, expected) in [
            (Mode::Off, true, true, Mode::Off),
            (Mode::Observe, false, false, Mode::Observe),
            (Mode::Meter, true, true, Mode::Meter),
            (Mode::Enforce, true, true, Mode::Enforce),
            (Mode::Meter, true, false, Mode::Observe),
            (Mode::Enforce, false, true, Mode::Observe),
        ] {
            let effective = effective(wanted, authority, trusted);
            assert_eq!(effective.mode, expected, "{wanted:?}");
            assert_eq!(effective.reason.is_some(), wanted != expected);
        }
    }
}
