//! Containers that are metered.

use harness::{Route, curl, on_stage, until};
use serde_json::json;

use super::container::{Container, Network, OWN4, OWN6, armed, connection, is_direct, last_peer};

#[test]
fn a_metered_container_is_metered_from_its_first_call_and_reached_from_its_own_network()
-> anyhow::Result<()> {
    on_stage(async |stage| {
        // There before the agent is.
        let web = Container::start(stage, "web", Network::Routed).await?;
        let containers = json!({"meter": ["container:web"]});
        stage.start(&stage.config().with(&["containers"], containers)).await?;
        armed(stage, 1).await?;

        let output = web.succeed(stage, &curl(&["-i", "-4"])).await?;
        assert!(!is_direct(&output), "{}", output.stdout);
        assert_eq!(last_peer(stage).as_deref(), Some(OWN4));
        let call = &stage.settled(1).await?[0];
        assert_eq!(call["workload"], "container:web", "{call}");
        assert_eq!(call["pid"], output.pid);
        assert_eq!(call["outcome"], "ok");
        assert_eq!(call["usage_source"], "reported");
        let process = stage.process(output.pid).await?;
        assert_eq!(process["coverage"], "metered", "{process}");

        // A connection of the container's is kept open now. It is nobody else's.
        stage.succeed(Route::Redirect, &curl(&["-4"])).await?;
        assert_ne!(last_peer(stage).as_deref(), Some(OWN4));
        let before = stage.provider().stats().connections;
        web.succeed(stage, &curl(&["-4"])).await?;
        assert_eq!(last_peer(stage).as_deref(), Some(OWN4));
        assert_eq!(stage.provider().stats().connections, before, "its own is used again");

        web.succeed(stage, &curl(&["-6"])).await?;
        assert_eq!(last_peer(stage).as_deref(), Some(OWN6));
        assert_eq!(stage.settled(4).await?.len(), 4);
        Ok(())
    })
}

#[test]
fn a_new_container_is_metered_soon_and_until_then_left_alone() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let containers = json!({"default": "meter"});
        stage.start(&stage.config().with(&["containers"], containers)).await?;
        let web = Container::start(stage, "web", Network::Routed).await?;
        let mut direct = 0;
        until("a metered call", async || {
            let output = web.succeed(stage, &curl(&["-i", "-4"])).await?;
            direct += u64::from(is_direct(&output));
            Ok((!is_direct(&output)).then_some(()))
        })
        .await?;
        let counted = stage
            .metric::<u64>(
                "weir_connections_total",
                "mode=\"direct\",provider=\"openai\",reason=\"container_unarmed\"",
            )
            .await?;
        assert_eq!(counted, direct);
        Ok(())
    })
}

#[test]
fn without_a_loopback_over_ipv6_only_ipv4_is_metered() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let containers = json!({"meter": ["container:web"]});
        stage.start(&stage.config().with(&["containers"], containers)).await?;
        let web = Container::start(stage, "web", Network::WithoutLocalhost6).await?;
        armed(stage, 1).await?;
        let output = web.succeed(stage, &curl(&["-i", "-4"])).await?;
        assert!(!is_direct(&output));
        let output = web.succeed(stage, &curl(&["-i", "-6"])).await?;
        assert!(is_direct(&output));
        assert_eq!(last_peer(stage).as_deref(), Some(OWN6));
        let process = stage.process(output.pid).await?;
        assert_eq!(connection(&process), ("openai", "direct", "container_unarmed"));
        assert_eq!(process["coverage"], "container");
        Ok(())
    })
}

#[test]
fn where_our_port_is_taken_nothing_is_redirected_and_that_is_told() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let containers = json!({"meter": ["container:web"]});
        stage.start(&stage.config().with(&["containers"], containers)).await?;
        let status = stage.daemon()?.read(&["status"]).await?;
        let listeners = status["listeners"].as_array().into_iter().flatten();
        let intercept: Vec<&str> = listeners
            .filter(|listener| listener["name"] == "intercept")
            .filter_map(|listener| listener["address"].as_str())
            .collect();
        let port = intercept[0].rsplit(':').next().unwrap_or_default();

        // Somebody else is there first.
        let early = Container::start(stage, "early", Network::Routed).await?;
        let at = format!("at=127.0.0.1:{port}");
        let words = early.inside(&[env!("CARGO_BIN_EXE_actor"), "squat", &at]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let _squatter = stage.command(Route::Direct, &words)?.spawn()?;
        until("the squatter", async || Ok(early.listens(stage).await?.then_some(()))).await?;
        let web = early.beside(stage, "web")?;
        until("a refusal", async || {
            let reason = "reason=\"port_taken\"";
            let left_out = stage.metric::<u64>("weir_namespaces_left_out_total", reason).await?;
            Ok((left_out > 0).then_some(()))
        })
        .await?;
        let output = web.succeed(stage, &curl(&["-i", "-4"])).await?;
        assert!(is_direct(&output), "nobody is led to a squatter");
        let process = stage.process(output.pid).await?;
        assert_eq!(process["coverage"], "container");
        let status = stage.daemon()?.read(&["status"]).await?;
        assert_eq!(status["namespaces"], json!({"armed": 0, "left_out": {"port_taken": 1}}));
        Ok(())
    })
}

#[test]
fn a_client_without_ipv6_comes_to_its_own_fallback() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let containers = json!({"meter": ["container:web"]});
        stage.start(&stage.config().with(&["containers"], containers)).await?;
        let web = Container::start(stage, "web", Network::OneProvider).await?;
        armed(stage, 1).await?;
        let refused = web.run(stage, &curl(&["-6"])).await?;
        assert_eq!(refused.code, Some(7), "connect(2) fails as it does without us: {refused:?}");
        let output = web.succeed(stage, &curl(&["-i"])).await?;
        assert!(!is_direct(&output), "over IPv4 then");
        Ok(())
    })
}
