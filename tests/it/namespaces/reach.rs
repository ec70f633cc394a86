//! Weir is no way out for a container that has none.

use agent::demo::mock::{Ending, Script};
use harness::{curl, on_stage};
use serde_json::json;

use super::container::{Container, Network, OWN4, armed, is_direct, last_peer};

#[test]
fn a_container_without_a_route_fails_as_it_would_without_the_agent() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let containers = json!({"meter": ["container:web"]});
        stage.start(&stage.config().with(&["containers"], containers)).await?;
        let web = Container::start(stage, "web", Network::Nowhere).await?;
        armed(stage, 1).await?;
        let output = web.run(stage, &curl(&["-i", "-4"])).await?;
        assert_ne!(output.code, Some(0), "{}", output.stdout);
        assert_eq!(output.stdout, "", "no answer of anybody's");
        assert_eq!(stage.provider().stats().connections, 0);
        let process = stage.process(output.pid).await?;
        assert_eq!(process["connections"][0]["reason"], "connect", "{process}");
        Ok(())
    })
}

#[test]
fn a_container_is_reached_from_the_host_where_the_settings_say_so() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let containers = json!({"meter": ["container:*"], "dial": {"host": ["container:web"]}});
        stage.start(&stage.config().with(&["containers"], containers)).await?;
        let web = Container::start(stage, "web", Network::Nowhere).await?;
        let own = Container::start(stage, "own", Network::Nowhere).await?;
        armed(stage, 2).await?;
        let output = web.succeed(stage, &curl(&["-i", "-4"])).await?;
        assert!(!is_direct(&output));
        assert_ne!(last_peer(stage).as_deref(), Some(OWN4));
        let call = &stage.settled(1).await?[0];
        assert_eq!((&call["workload"], &call["outcome"]), (&json!("container:web"), &json!("ok")));
        // It alone, though a connection for it is open.
        assert_ne!(own.run(stage, &curl(&["-4"])).await?.code, Some(0));
        Ok(())
    })
}

#[test]
fn failover_does_not_lead_a_container_where_it_could_not_go() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let key = stage.scratch().join("key");
        std::fs::write(&key, "sk-other")?;
        let config = |dial: serde_json::Value| {
            stage
                .config()
                .with(&["mode"], json!("enforce"))
                .with(&["containers"], json!({"meter": ["container:web"], "dial": dial}))
                .with(&["failover", "chains", "gpt-4o-mini"], json!(["claude-haiku-4-5"]))
                .with(&["providers", "anthropic", "api_key"], json!({"file": key}))
        };
        let configs = [config(json!({})), config(json!({"host": ["container:web"]}))];
        let status = Ending::Status { code: 503, retry_after: None };
        let down = Script { ending: status, ..Script::default() };
        stage.provider().standing_at("api.openai.com", down);
        let web = Container::start(stage, "web", Network::OneProvider).await?;
        for (config, reached) in configs.iter().zip([false, true]) {
            stage.start(config).await?;
            armed(stage, 1).await?;
            let output = web.run(stage, &curl(&["-i", "-4"])).await?;
            assert_eq!(output.code == Some(0), reached, "{}", output.stdout);
            let seen = stage.provider().seen();
            assert!(seen.iter().any(|seen| seen.path == "/v1/chat/completions"), "it was asked");
            assert_eq!(seen.iter().any(|seen| seen.path == "/v1/messages"), reached);
            stage.stop().await?;
        }
        Ok(())
    })
}
