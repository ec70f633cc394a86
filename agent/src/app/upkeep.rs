//! What the admin server asks of the agent itself: what it logs, and a pause.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::agent::Running;
use super::log::{Filter, Set};
use crate::admin::status::CaptureState;
use crate::admin::upkeep::{LogState, SetLog, Upkeep};
use crate::admin::{Failure, SCHEMA_VERSION};

impl Upkeep for Running {
    fn log(&self) -> LogState {
        let (set, configured) = self.log.standing();
        let until = set.as_ref().and_then(|set| Timestamp::try_from(set.until?).ok());
        let filter = set.map_or_else(|| configured.to_string(), |set| set.filter.to_string());
        let output = if self.log.is_journal() { "journal" } else { "stderr" };
        LogState {
            schema_version: SCHEMA_VERSION,
            filter,
            configured: configured.to_string(),
            until,
            output: output.to_owned(),
        }
    }

    fn set_log(&self, wanted: &SetLog) -> Result<LogState, Failure> {
        let Some(text) = &wanted.filter else {
            self.log.set(None);
            tracing::info!("what is logged is as configured again");
            return Ok(self.log());
        };
        let filter: Filter = text.parse().map_err(|error: super::log::FilterError| {
            let fix = Some("weir log level debug".to_owned());
            Failure::Refused { what: error.to_string(), fix }
        })?;
        let length = wanted.for_seconds.map(Duration::from_secs);
        let until = length.map(|length| self.front.runtime.clock.now().wall + length);
        tracing::info!(%filter, "what is logged is set by hand");
        let number = self.log.set(Some(Set { filter, until }));
        if let Some(length) = length {
            let (log, drain) = (Arc::clone(&self.log), self.front.runtime.drain.clone());
            self.front.runtime.drain.spawn(async move {
                tokio::select! {
                    () = tokio::time::sleep(length) => {}
                    () = drain.signalled() => return,
                }
                if log.end(number) {
                    tracing::info!("what is logged is as configured again");
                }
            });
        }
        Ok(self.log())
    }

    fn pause(&self, length: Duration) -> Result<CaptureState, Failure> {
        let Some(kernel) = &self.kernel else {
            let what = self.no_kernel.clone().unwrap_or_else(|| "nothing to pause".to_owned());
            return Err(Failure::Refused { what, fix: Some("run the daemon as root".to_owned()) });
        };
        let until = self.front.runtime.clock.now().wall + length;
        let kept = self.pause.begin(kernel, until, &self.front.runtime);
        kept.map_err(|error| Failure::Unavailable(format!("the pause cannot be kept: {error}")))?;
        Ok(self.capture_state())
    }
}
