//! What happens to containers that nobody wants metered.

use harness::{Route, curl, on_stage, until};
use serde_json::{Value, json};

use super::container::{Container, Network, OWN4, armed, connection, is_direct, last_peer};

#[test]
fn a_container_is_only_observed_unless_the_settings_name_it() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.start(&stage.config()).await?;
        let web = Container::start(stage, "web", Network::Routed).await?;
        let output = web.succeed(stage, &curl(&["-i", "-4"])).await?;
        assert!(is_direct(&output), "{}", output.stdout);
        assert_eq!(last_peer(stage).as_deref(), Some(OWN4));

        let process = stage.process(output.pid).await?;
        assert_eq!(process["workload"], "container:web");
        assert_eq!(process["coverage"], "container", "{process}");
        assert!(process["fix"].as_str().is_some_and(|fix| fix.contains("containers:")));
        assert_eq!(connection(&process), ("openai", "direct", "container"));
        assert_eq!(process["connections"][0]["count"], 1, "{process}");
        assert!(process["connections"][0]["bytes_down"].as_u64() > Some(100), "{process}");
        assert!(!web.listens(stage).await?, "nothing is opened inside");
        // The host's own processes are metered as ever.
        stage.succeed(Route::Redirect, &curl(&["-4"])).await?;
        stage.settled(1).await?;
        armed(stage, 0).await
    })
}

#[test]
fn a_container_that_is_not_to_be_looked_at_leaves_no_trace() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let containers = json!({"off": ["container:d*"]});
        stage.start(&stage.config().with(&["containers"], containers)).await?;
        let db = Container::start(stage, "db", Network::Routed).await?;
        let unseen = db.succeed(stage, &curl(&["-i", "-4"])).await?;
        assert!(is_direct(&unseen));
        // What is reported later is told later.
        let web = Container::start(stage, "web", Network::Nowhere).await?;
        let seen = web.run(stage, &curl(&["-4"])).await?;
        assert_ne!(seen.code, Some(0));
        let output = db.succeed(stage, &curl(&["-4"])).await?;
        let host = stage.succeed(Route::Redirect, &curl(&["-4"])).await?;
        stage.process(host.pid).await?;
        let rows = stage.daemon()?.read(&["ps"]).await?;
        let pids: Vec<&Value> =
            rows["rows"].as_array().into_iter().flatten().map(|row| &row["pid"]).collect();
        assert!(!pids.contains(&&json!(unseen.pid)) && !pids.contains(&&json!(output.pid)));
        Ok(())
    })
}

#[test]
fn who_shares_a_metered_containers_network_is_relayed_unread() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let containers = json!({"meter": ["container:web"]});
        stage.start(&stage.config().with(&["containers"], containers)).await?;
        let web = Container::start(stage, "web", Network::Routed).await?;
        let log = web.beside(stage, "log")?;
        armed(stage, 1).await?;
        let metered = web.succeed(stage, &curl(&["-i", "-4"])).await?;
        assert!(!is_direct(&metered));
        let relayed = log.succeed(stage, &curl(&["-i", "-4"])).await?;
        assert!(is_direct(&relayed), "its TLS is its own");
        assert_eq!(last_peer(stage).as_deref(), Some(OWN4));
        let process = stage.process(relayed.pid).await?;
        assert_eq!(connection(&process), ("openai", "opaque", "container"));
        let calls = stage.settled(1).await?;
        assert_eq!(calls.len(), 1);
        until("the status", async || {
            let status = stage.daemon()?.read(&["status"]).await?;
            Ok((status["namespaces"]["armed"] == 1).then_some(()))
        })
        .await
    })
}
