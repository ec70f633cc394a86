//! The part of the fake agent that logs, pauses and leaves alone.

use std::time::Duration;

use agent::admin::bypass::{BypassRow, Bypassing, Kind, SetBypass};
use agent::admin::status::CaptureState;
use agent::admin::upkeep::{LogState, SetLog, Upkeep};
use agent::admin::{Failure, SCHEMA_VERSION};

use super::Fake;

impl Upkeep for Fake {
    fn log(&self) -> LogState {
        LogState {
            schema_version: SCHEMA_VERSION,
            filter: "info".to_owned(),
            configured: "info".to_owned(),
            until: None,
            output: "stderr".to_owned(),
        }
    }

    fn set_log(&self, set: &SetLog) -> Result<LogState, Failure> {
        match set.filter.as_deref() {
            Some("loud") => {
                let what = "`loud` is not a level".to_owned();
                Err(Failure::Refused { what, fix: Some("weir log level debug".to_owned()) })
            }
            filter => {
                let filter = filter.unwrap_or("info").to_owned();
                let until = set.for_seconds.map(|_| jiff::Timestamp::MAX);
                Ok(LogState { filter, until, ..self.log() })
            }
        }
    }

    fn pause(&self, length: Duration) -> Result<CaptureState, Failure> {
        let reason = Some(format!("paused for {} s", length.as_secs()));
        Ok(CaptureState { on: false, reason })
    }
}

impl Bypassing for Fake {
    fn bypasses(&self) -> Vec<BypassRow> {
        vec![BypassRow { kind: Kind::Unit, name: "vault".to_owned(), until: None }]
    }

    fn set_bypass(&self, set: &SetBypass) -> Result<Vec<BypassRow>, Failure> {
        if !set.on {
            return Ok(Vec::new());
        }
        let until = set.for_seconds.map(|_| jiff::Timestamp::MAX);
        let mut rows = self.bypasses();
        rows.push(BypassRow { kind: set.kind, name: set.name.clone(), until });
        Ok(rows)
    }
}
