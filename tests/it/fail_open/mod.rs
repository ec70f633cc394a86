//! Parts of the agent fail, or are somebody else's: connections go where they were going, and
//! whatever else can work does.

pub(crate) mod listener;
mod memory;
mod hooks;
mod load;
mod restarts;

use harness::{Output, Route, Stage, curl};

/// Whether an answer (with its head) came without the agent.
fn is_direct(output: &Output) -> bool {
    !output.stdout.to_ascii_lowercase().contains("\nx-weir-call-id: ")
}

/// One call, which has to succeed; whether it was metered.
async fn is_metered(stage: &Stage, more: &[&str]) -> anyhow::Result<bool> {
    let words = [&["-i", "--max-time", "10"], more].concat();
    Ok(!is_direct(&stage.succeed(Route::Redirect, &curl(&words)).await?))
}
