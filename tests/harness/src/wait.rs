//! Waiting for what will be, instead of for a time.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// What has not come by then does not come, also on a busy machine or an emulated one.
const LONGEST: Duration = Duration::from_mins(1);
/// How often is asked.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks until there is an answer; `what` names it where there is none.
pub async fn until<T>(
    what: &str,
    ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    within(LONGEST, what, ask).await
}

/// The same for what may take longer.
pub async fn within<T>(
    longest: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let asking = async {
        loop {
            if let Some(answer) = ask().await? {
                return Ok(answer);
            }
            sleep(PAUSE).await;
        }
    };
    timeout(longest, asking).await.map_err(|_elapsed| anyhow::anyhow!("in vain: {what}"))?
}
