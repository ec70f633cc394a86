//! `weir bypass`: who is left alone, kept over restarts (`STATE/bypass.json`).

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::agent::Running;
use super::kept;
use crate::admin::Failure;
use crate::admin::bypass::{BypassRow, Bypassing, Kind, SetBypass};
use crate::downstream::bypass::{Bypass, Bypasses, Whom};

/// Each is looked at for every connection.
const MOST: usize = 256;

/// What is kept.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    all: Mutex<Vec<Bypass>>,
}

impl Kept {
    /// Reads what was said before this start, and puts it into effect.
    pub(super) fn open(state: &Path, now: SystemTime, effect: &Bypasses) -> Self {
        let path = state.join("bypass.json");
        let mut all: Vec<Bypass> = kept::read(&path).unwrap_or_default();
        all.retain(|it| it.holds(now));
        effect.replace(all.clone());
        Self { path, all: Mutex::new(all) }
    }

    fn rows(&self, now: SystemTime) -> Vec<BypassRow> {
        self.all.lock().iter().filter(|it| it.holds(now)).map(row).collect()
    }

    /// Changes one. Where it cannot be kept, nothing changes. False where there was none to end.
    fn set(
        &self,
        whom: &Whom,
        new: Option<Bypass>,
        (now, effect): (SystemTime, &Bypasses),
    ) -> Result<bool, SetError> {
        let mut all = self.all.lock();
        let mut next = all.clone();
        next.retain(|it| it.holds(now));
        let before = next.len();
        next.retain(|it| it.whom != *whom);
        let known = next.len() < before;
        let adds = new.is_some();
        next.extend(new);
        if next.len() > MOST {
            return Err(SetError::Full);
        }
        kept::write(&self.path, &next)?;
        effect.replace(next.clone());
        *all = next;
        Ok(adds || known)
    }
}

#[derive(Debug, thiserror::Error)]
enum SetError {
    #[error("there are {MOST} already")]
    Full,
    #[error("it cannot be kept: {0}")]
    Io(#[from] io::Error),
}

impl Bypassing for Running {
    fn bypasses(&self) -> Vec<BypassRow> {
        self.bypass.rows(self.front.runtime.clock.now().wall)
    }

    fn set_bypass(&self, set: &SetBypass) -> Result<Vec<BypassRow>, Failure> {
        let now = self.front.runtime.clock.now().wall;
        let whom = whom(set.kind, set.name.clone());
        let until = set.for_seconds.map(Duration::from_secs);
        let until = until.map(|length| now.checked_add(length).unwrap_or(now));
        let new = set.on.then(|| Bypass { whom: whom.clone(), until });
        let done = self.bypass.set(&whom, new, (now, &self.front.client.bypasses));
        match done {
            Ok(true) => {
                tracing::info!(name = set.name, on = set.on, "a bypass was set by hand");
                Ok(self.bypasses())
            }
            Ok(false) => Err(Failure::NotFound {
                what: format!("nothing of `{}` is left alone", set.name),
                fix: Some("weir bypass list".to_owned()),
            }),
            Err(SetError::Full) => Err(Failure::Refused {
                what: SetError::Full.to_string(),
                fix: Some("weir bypass rm, or one with a trailing *".to_owned()),
            }),
            Err(error) => Err(Failure::Unavailable(error.to_string())),
        }
    }
}

fn whom(kind: Kind, name: String) -> Whom {
    match kind {
        Kind::Process => Whom::Process(name),
        Kind::Exe => Whom::Exe(name),
        Kind::Unit => Whom::Unit(name),
        Kind::User => Whom::User(name),
        Kind::Host => Whom::Host(name),
    }
}

fn row(bypass: &Bypass) -> BypassRow {
    let (kind, name) = match &bypass.whom {
        Whom::Process(name) => (Kind::Process, name),
        Whom::Exe(name) => (Kind::Exe, name),
        Whom::Unit(name) => (Kind::Unit, name),
        Whom::User(name) => (Kind::User, name),
        Whom::Host(name) => (Kind::Host, name),
    };
    let until = bypass.until.and_then(|until| Timestamp::try_from(until).ok());
    BypassRow { kind, name: name.clone(), until }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_outlives_a_restart_until_its_time_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let (now, effect) = (SystemTime::UNIX_EPOCH, Bypasses::default());
        let hour = now + Duration::from_hours(1);
        let kept = Kept::open(dir.path(), now, &effect);
        let (unit, host) = (Whom::Unit("etl".to_owned()), Whom::Host("api.x.test".to_owned()));
        let new = |whom: &Whom, until| Some(Bypass { whom: whom.clone(), until });
        assert!(!kept.set(&unit, None, (now, &effect)).unwrap(), "there is none to end");
        assert!(kept.set(&unit, new(&unit, Some(hour)), (now, &effect)).unwrap());
        assert!(kept.set(&host, new(&host, None), (now, &effect)).unwrap());
        assert!(kept.set(&unit, new(&unit, Some(hour)), (now, &effect)).unwrap());
        assert_eq!(kept.rows(now).len(), 2, "said twice is said once");

        assert_eq!(Kept::open(dir.path(), now, &effect).rows(now), kept.rows(now));
        let later = Kept::open(dir.path(), hour, &effect).rows(hour);
        assert_eq!((later.len(), later[0].kind), (1, Kind::Host));
        assert!(kept.set(&host, None, (hour, &effect)).unwrap());
        assert_eq!(Kept::open(dir.path(), hour, &effect).rows(hour), []);
    }

    #[test]
    fn what_cannot_be_kept_does_not_act_and_there_is_an_end_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let (now, effect) = (SystemTime::UNIX_EPOCH, Bypasses::default());
        let bypass = |name: String| Bypass { whom: Whom::Unit(name), until: None };
        let gone = Kept::open(&dir.path().join("gone"), now, &effect);
        let one = bypass("x".to_owned());
        let failed = gone.set(&one.whom.clone(), Some(one), (now, &effect));
        assert!(matches!(failed, Err(SetError::Io(_))) && gone.rows(now).is_empty());
        let kept = Kept::open(dir.path(), now, &effect);
        for number in 0..=MOST {
            let one = bypass(number.to_string());
            let set = kept.set(&one.whom.clone(), Some(one), (now, &effect));
            assert_eq!(set.is_ok(), number < MOST);
        }
    }
}
