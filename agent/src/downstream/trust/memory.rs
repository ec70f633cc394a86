//! What clients have shown, remembered by whom it is about, and the form in which it outlives the
//! agent.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::Distrust;
use crate::capture::identity::Traits;
use crate::clock::Now;
use crate::subject::Subject;

/// Clients remembered. Beyond it the longest known is forgotten, and asked again when it returns.
pub(super) const CAPACITY: usize = 4096;

/// Version of the saved form.
const VERSION: u32 = 1;

/// Installations told apart by less than this are one: clocks drift, and files have coarse times.
pub(super) const DRIFT: Duration = Duration::from_secs(1);

/// Whom a verdict is about. Another executable, root directory or trust environment is another client.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Key {
    /// One process: under an interpreter different programs run.
    Instance { pid: u32, start_ticks: u64, exe: Arc<str>, traits: Option<Arc<Traits>> },
    /// Whatever of a user's runs under an interpreter by this name: a script, a unit.
    Script { exe: Arc<str>, uid: u32, workload: Arc<str>, traits: Option<Arc<Traits>> },
    /// All runs of a program by a user.
    Program { exe: Arc<str>, uid: u32, traits: Option<Arc<Traits>> },
}

impl Key {
    /// Whom to ask for, and write down, first.
    pub(super) fn of(subject: &Subject, traits: Option<&Arc<Traits>>) -> Self {
        let process = &subject.process;
        let (exe, traits) = (Arc::clone(&process.exe), traits.cloned());
        if exe.is_empty() || is_interpreter(&exe) {
            Self::Instance { pid: process.pid, start_ticks: process.start_ticks, exe, traits }
        } else {
            Self::Program { exe, uid: process.uid, traits }
        }
    }

    /// What stands behind an instance; `None` for programs, and where only the interpreter is known.
    pub(super) fn script(subject: &Subject, traits: Option<&Arc<Traits>>) -> Option<Self> {
        let process = &subject.process;
        let name = &subject.workload.name;
        let is_bare = name.split(':').count() < 3 && name.starts_with("exe:");
        if process.exe.is_empty() || !is_interpreter(&process.exe) || is_bare || !name.contains(':')
        {
            return None;
        }
        Some(Self::Script {
            exe: Arc::clone(&process.exe),
            uid: process.uid,
            workload: Arc::clone(name),
            traits: traits.cloned(),
        })
    }

    /// Whether this is about the process, or about what it belongs to. Of its traits only what is
    /// known on both sides is compared.
    pub(super) fn covers(&self, process: &(u32, u64), exe: &str, uid: u32, workload: &str) -> bool {
        match self {
            Self::Instance { pid, start_ticks, .. } => (*pid, *start_ticks) == *process,
            Self::Script { exe: of, uid: by, workload: name, .. } => {
                **of == *exe && *by == uid && **name == *workload
            }
            Self::Program { exe: of, uid: by, .. } => **of == *exe && *by == uid,
        }
    }
}

/// What a client has shown.
#[derive(Debug)]
pub(super) enum State {
    /// It sent application data under our certificate.
    Accepted,
    /// One possible sign of rejection, then; for scripts, one instance that rejected us.
    Suspect(Now),
    /// It rejects us.
    Rejected(Distrust),
}

/// Bounded memory of what clients have shown.
#[derive(Debug, Default)]
pub(super) struct Clients {
    pub(super) states: HashMap<Key, State>,
    /// Keys of `states`, the longest known first.
    order: VecDeque<Key>,
    /// Rejections that were forgotten for lack of room.
    pub(super) forgotten: u64,
}

impl Clients {
    pub(super) fn set(&mut self, key: Key, state: State) {
        if self.states.insert(key.clone(), state).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
            && let Some(State::Rejected(_)) = self.states.remove(&oldest)
        {
            self.forgotten += 1;
        }
    }

    /// The saved form, the longest known first.
    pub(super) fn save(&self, ground: Ground) -> Saved {
        let entry = |key: &Key| match self.states.get(key)? {
            State::Accepted => Some((key.clone(), None)),
            State::Rejected(distrust) => Some((key.clone(), Some(distrust.clone()))),
            // Half a minute's worth: not worth a line.
            State::Suspect(_) => None,
        };
        Saved { version: VERSION, ground, clients: self.order.iter().filter_map(entry).collect() }
    }

    /// What of the saved form still holds on this ground.
    pub(super) fn restore(saved: Saved, ground: &Ground) -> Self {
        let mut clients = Self::default();
        if saved.version != VERSION || !ground.continues(&saved.ground) {
            return clients;
        }
        let same_boot = saved.ground.boot == ground.boot;
        for (key, distrust) in saved.clients {
            // Pids and their start times mean nothing after another boot.
            if same_boot || !matches!(key, Key::Instance { .. }) {
                clients.set(key, distrust.map_or(State::Accepted, State::Rejected));
            }
        }
        clients
    }
}

/// What verdicts rest on: where it changes, they say nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ground {
    /// The kernel's boot id: whose pids these are.
    pub boot: String,
    /// SHA-256 of the root that was rejected, in hex.
    pub root: String,
    /// When the host was made to trust that root; `None` where it was not.
    pub installed_at: Option<SystemTime>,
}

impl Ground {
    /// Whether what was learnt on `before` holds here: the root is the same, and was not installed
    /// since.
    fn continues(&self, before: &Self) -> bool {
        let is_later = |at: SystemTime| before.installed_at.is_none_or(|then| then + DRIFT < at);
        self.root == before.root && !self.installed_at.is_some_and(is_later)
    }
}

/// Verdicts as they outlive the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    version: u32,
    ground: Ground,
    /// Who, and how they rejected us; nothing where they accepted.
    clients: Vec<(Key, Option<Distrust>)>,
}

/// Whether different programs run under this executable.
pub(super) fn is_interpreter(exe: &str) -> bool {
    const STEMS: [&str; 14] = [
        "python", "pypy", "node", "bun", "deno", "java", "ruby", "perl", "php", "dotnet",
        "electron", "lua", "beam", "julia",
    ];
    let name = exe.rsplit('/').next().unwrap_or(exe);
    STEMS.iter().any(|stem| name.starts_with(stem))
}
