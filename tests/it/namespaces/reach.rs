//! Weir is no way out for a container that has none.

use harness::{curl, on_stage};
use serde_json::json;

use super::container::{Container, Network, OWN4, armed, is_direct, last_peer};

#[test]
fn a_container_without_a_route_fails_as_it_would_without_the_agent() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let containers = json!({"meter": ["container:web"]});
        // Nor do other providers, which the agent itself can reach.
        let config = stage
            .config()
            .with(&["containers"], containers)
            .with(&["failover"], json!({"chains": {"gpt-4o-mini": ["claude-haiku-4-5"]}}));
        stage.start(&config).await?;
        let web = Container::start(stage, "web", Network::Nowhere).await?;
        armed(stage, 1).await?;
        let output = web.run(stage, &curl(&["-i"])).await?;
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
        let output = web.succeed(stage, &curl(&["-i"])).await?;
        assert!(!is_direct(&output));
        assert_ne!(last_peer(stage).as_deref(), Some(OWN4));
        let call = &stage.settled(1).await?[0];
        assert_eq!((&call["workload"], &call["outcome"]), (&json!("container:web"), &json!("ok")));
        // It alone, though a connection for it is open.
        assert_ne!(own.run(stage, &curl(&[])).await?.code, Some(0));
        Ok(())
    })
}
