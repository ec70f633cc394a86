//! What the status warns of: whatever keeps calls from being seen, kept or told of.

use super::agent::Running;
use crate::admin::status::Warning;

impl Running {
    /// To somebody with this uid; to an administrator without.
    pub(super) fn warnings(&self, uid: Option<u32>) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |what: String, fix: Option<&str>, degrades| {
            warnings.push(Warning { what, fix: fix.map(str::to_owned), degrades });
        };
        let effective = self.modes.effective();
        if let Some(reason) = effective.reason {
            warn(
                format!("runs as {}: {reason}", effective.mode.word()),
                Some("weir trust install"),
                true,
            );
        }
        if let Some(why) = &self.no_kernel {
            let fix = "run as root, or use weir run and the base URLs";
            warn(format!("no connection is captured: {why}"), Some(fix), false);
        }
        if let Some(kernel) = &self.kernel {
            match kernel.lost() {
                Some(why) => {
                    let fix = Some("restart the agent where this stays");
                    warn(format!("interception is off: {why}"), fix, true);
                }
                None if !kernel.is_up() => {
                    let why = self.pause.reason().map(|why| format!(": {why}"));
                    let what = format!("interception is off{}", why.unwrap_or_default());
                    warn(what, Some("weir up"), true);
                }
                None => {}
            }
            if let Some(why) = kernel.unguarded() {
                warn(why, Some("fix this, then: weir up"), true);
            }
            for row in kernel.capabilities().rows.iter().filter(|row| !row.ok) {
                let what = format!("{}: {}; {}", row.hook, row.missing, row.consequence);
                warn(what, Some("weir doctor"), true);
            }
        }
        if let Some(remark) = &self.remark {
            let fix = "make the user (useradd --system weir), or say user: root where it is meant";
            warn(remark.clone(), Some(fix), false);
        }
        let providers = &self.front.rules.load().providers;
        if let Some(leaves) = &self.front.client.leaves {
            let uncovered: Vec<_> =
                providers.hosts().filter(|host| !leaves.authority().covers(host)).collect();
            if !uncovered.is_empty() {
                let names = uncovered.iter().map(|host| &***host).collect::<Vec<_>>().join(", ");
                let what = format!("outside the CA's name constraints, so only observed: {names}");
                warn(what, None, false);
            }
        }
        for distrust in self.front.client.trust.snapshot() {
            if uid.is_none_or(|uid| uid == distrust.uid) {
                let what = format!(
                    "{} (pid {}) does not accept the CA ({}): relayed unmetered",
                    distrust.workload, distrust.pid, distrust.signal
                );
                warn(what, Some("weir doctor"), false);
            }
        }
        for aside in self.ledger.put_aside() {
            let what = format!(
                "the ledger's database was damaged and put aside as {}: what it held is not counted",
                aside.display()
            );
            warn(what, Some("move it away once you have what you need of it"), true);
        }
        // Channels are the administrators'.
        for (channel, why) in self.alerts.broken().into_iter().filter(|_| uid.is_none()) {
            warn(format!("the alert channel {channel} can tell nobody: {why}"), None, true);
        }
        if let Some(why) = self.telemetry.trouble().filter(|_| uid.is_none()) {
            warn(format!("telemetry: {why}"), Some("see tracing: weir config show"), false);
        }
        let health = self.ledger.health();
        if health.dropped > 0 {
            let what = format!("{} records could not be kept", health.dropped);
            warn(what, Some("make room on the disk of the state directory"), true);
        }
        warnings
    }
}
