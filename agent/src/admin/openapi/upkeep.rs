//! What the agent itself is asked by.

use serde_json::{Map, Value};

use super::super::bypass::{BypassList, SetBypass};
use super::super::reload::Reloaded;
use super::super::routes::{SetCapture, SetMode};
use super::super::status::{CaptureState, ModeState, Status};
use super::super::upgrade::Upgraded;
use super::super::upkeep::{LogState, SetLog, SetPause};
use super::operation::Operation;

pub(super) fn table() -> Vec<Operation> {
    let (get, put) = (Operation::get, Operation::put);
    vec![
        get("/healthz", "Whether the process answers.").answers_as("text/plain").open(),
        get("/readyz", "Whether it serves; 503 where not.").answers_as("text/plain").open(),
        get("/metrics", "Metrics in the Prometheus text format.").answers_as("text/plain").open(),
        get("/openapi.json", "This document.").answers::<Map<String, Value>>().open(),
        get("/api/status", "Everything at a glance; without a session over HTTP the state alone.")
            .answers::<Status>()
            .open(),
        get("/api/mode", "What is done, and what was asked for.").answers::<ModeState>().open(),
        put("/api/mode", "Does more or less from now on.").body::<SetMode>().answers::<ModeState>(),
        put("/api/capture", "Begins or ends interception.")
            .body::<SetCapture>()
            .answers::<CaptureState>(),
        put("/api/config/reload", "Reads the configuration again.").answers::<Reloaded>(),
        put("/api/upgrade", "Hands over to the program on disk.").answers::<Upgraded>(),
        get("/api/log", "What is logged.").answers::<LogState>(),
        put("/api/log", "Logs something else from now on.").body::<SetLog>().answers::<LogState>(),
        put("/api/pause", "Ends interception for a while.")
            .body::<SetPause>()
            .answers::<CaptureState>(),
        get("/api/bypass", "Who is left alone.").answers::<BypassList>(),
        put("/api/bypass", "Leaves somebody alone, or no longer.")
            .body::<SetBypass>()
            .answers::<BypassList>(),
    ]
}
