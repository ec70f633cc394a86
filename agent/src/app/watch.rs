//! `config.watch`: the configuration's files are looked at, and taken over when they change.
//!
//! Looked at rather than listened to: editors, packages and mounts replace files in ways that no
//! watch on an inode follows, and a few files every two seconds cost nothing.

use std::sync::Arc;
use std::time::Duration;

use super::agent::Running;
use crate::config::Stamp;

/// How often.
const PAUSE: Duration = Duration::from_secs(2);

/// Looks until the agent stops.
pub(super) async fn watch(running: Arc<Running>) {
    let drain = running.front.runtime.drain.clone();
    let look = async || {
        let paths = running.paths.clone();
        drain.spawn_blocking(move || Stamp::of(&paths)).await.ok()
    };
    let Some(first) = look().await else { return };
    let mut taken = Watched::new(first);
    loop {
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = drain.signalled() => return,
        }
        // Also where it is off: what changes until it is on has been reloaded by hand.
        let Some(found) = look().await else { return };
        let is_due = taken.see(found);
        if !is_due || !running.config.lock().config.watch {
            continue;
        }
        tracing::info!("the configuration's files have changed");
        let taking = Arc::clone(&running);
        if drain.spawn_blocking(move || taking.take_config()).await.is_err() {
            tracing::error!("reading the configuration again failed: the old one holds");
        }
    }
}

/// What has been seen of the files.
#[derive(Debug)]
struct Watched {
    taken: Stamp,
    last: Stamp,
}

impl Watched {
    fn new(first: Stamp) -> Self {
        Self { taken: first.clone(), last: first }
    }

    /// Whether they differ from what was taken and have been the same for two looks: whoever is
    /// still writing is left to finish.
    fn see(&mut self, found: Stamp) -> bool {
        let is_settled = found == self.last;
        let is_due = is_settled && found != self.taken;
        if is_due {
            self.taken = found.clone();
        }
        self.last = found;
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, Paths};

    #[test]
    fn a_change_is_taken_once_it_has_settled() {
        let dir = tempfile::tempdir().unwrap();
        let config = Some(dir.path().join("weir.yaml"));
        let paths = Paths::find(Overrides { config, ..Overrides::default() });
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("weir.yaml", "mode: meter\n");
        let mut watched = Watched::new(Stamp::of(&paths));
        assert!(!watched.see(Stamp::of(&paths)));
        // Half of it, then the rest, then nothing more.
        write("conf.d/50-prod.yaml", "environment: pr");
        assert!(!watched.see(Stamp::of(&paths)), "it may still be written");
        write("conf.d/50-prod.yaml", "environment: prod\n");
        assert!(!watched.see(Stamp::of(&paths)));
        assert!(watched.see(Stamp::of(&paths)));
        assert!(!watched.see(Stamp::of(&paths)), "once");
        write("environments/prod.yaml", "mode: observe\n");
        assert!(!watched.see(Stamp::of(&paths)));
        assert!(watched.see(Stamp::of(&paths)));
        // What is no part of it is none of its business.
        write("conf.d/.50-prod.yaml.swp", "x");
        write("conf.d/README", "x");
        assert!(!watched.see(Stamp::of(&paths)) && !watched.see(Stamp::of(&paths)));
        std::fs::remove_file(dir.path().join("conf.d/50-prod.yaml")).unwrap();
        assert!(!watched.see(Stamp::of(&paths)));
        assert!(watched.see(Stamp::of(&paths)), "what is gone is a change");
    }
}
