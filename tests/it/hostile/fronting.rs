//! A request for another host than its connection's carries its credentials nowhere.

use anyhow::ensure;
use harness::{Route, curl, on_stage};

use super::vitals::faults;

#[test]
fn a_provider_cannot_be_reached_behind_anothers_name() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let mut expected = 0;
        for route in [Route::Redirect, Route::Proxy] {
            for version in ["--http1.1", "--http2"] {
                for host in ["host: api.anthropic.com", "host: evil.example"] {
                    let url = "https://api.openai.com/v1/messages";
                    let more = [version, "-i", "-H", host, "-H", "x-api-key: sk-secret", url];
                    let output = stage.run(route, &curl(&more)).await?;
                    ensure!(output.code == Some(22), "{route:?} {version}: {output:?}");
                    ensure!(output.stdout.contains(" 421"), "{}", output.stdout);
                    ensure!(output.stdout.contains("misdirected_request"), "{}", output.stdout);
                    expected += 1;
                }
            }
        }
        assert_eq!(stage.provider().stats().requests, 0, "no provider heard of it");
        let listeners = [("intercept", expected / 2), ("proxy", expected / 2)];
        for (listener, count) in listeners {
            assert_eq!(faults(stage, listener, "misdirected").await?, count);
        }
        for call in stage.settled(8).await? {
            assert_eq!(call["status"], 421, "{call}");
            assert_eq!(call["outcome"], "refused", "{call}");
        }
        // The connection's own host, however it is written.
        for host in ["host: API.OpenAI.com", "host: api.openai.com:443", "host: api.openai.com."] {
            stage.succeed(Route::Redirect, &curl(&["--http1.1", "-H", host])).await?;
        }
        Ok(())
    })
}
