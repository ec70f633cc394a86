//! Processes and what they may do, as `/proc` tells it.

use anyhow::Context;

/// A process as `/proc` tells it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) pid: u32,
    pub(super) name: String,
    pub(super) uid: u32,
    /// Effective, permitted, bounding.
    pub(super) sets: Vec<u64>,
    pub(super) ambient: u64,
    pub(super) no_new_privileges: bool,
}

impl Seen {
    pub(super) fn of(pid: u32) -> anyhow::Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim).with_context(|| format!("{name} of {pid}"))
        };
        let set =
            |name: &str| -> anyhow::Result<u64> { Ok(u64::from_str_radix(field(name)?, 16)?) };
        let sets = ["CapEff:", "CapPrm:", "CapBnd:"].map(set);
        Ok(Self {
            pid,
            name: field("Name:")?.to_owned(),
            uid: field("Uid:")?.split_whitespace().next().context("a user")?.parse()?,
            sets: sets.into_iter().collect::<anyhow::Result<_>>()?,
            ambient: set("CapAmb:")?,
            no_new_privileges: field("NoNewPrivs:")? == "1",
        })
    }

    /// A process that nobody of its own user may look into: its files belong to root.
    pub(super) fn is_closed(&self) -> anyhow::Result<bool> {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.pid))?;
        let core = limits.lines().find(|line| line.starts_with("Max core file size"));
        let core = core.context("a limit of core files")?;
        let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(format!(
            "/proc/{}/environ",
            self.pid
        ))?);
        Ok(uid == 0 && core.split_whitespace().filter(|word| *word == "0").count() == 2)
    }
}

pub(super) fn children(of: u32) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        if parent.and_then(|parent| parent.trim().parse().ok()) == Some(of) {
            found.push(pid);
        }
    }
    Ok(found)
}
