//! Listeners in containers come and go with those they are for.

use harness::{curl, on_stage, until};
use serde_json::json;

use super::container::{Container, Network, OWN4, armed, is_direct, last_peer};
use crate::fail_open::listener::close;

#[test]
fn an_empty_namespace_is_left() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let containers = json!({"meter": ["container:web"]});
        stage.start(&stage.config().with(&["containers"], containers)).await?;
        let web = Container::start(stage, "web", Network::Routed).await?;
        armed(stage, 1).await?;
        web.succeed(stage, &curl(&["-4"])).await?;
        assert!(web.listens(stage).await?);
        drop(web);
        armed(stage, 0).await?;
        // And the next of that name is another one.
        let web = Container::start(stage, "web", Network::Routed).await?;
        armed(stage, 1).await?;
        assert!(!is_direct(&web.succeed(stage, &curl(&["-i", "-4"])).await?));
        Ok(())
    })
}

#[test]
fn connections_go_direct_after_the_agent_died_and_are_metered_by_the_next() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let containers = json!({"meter": ["container:web"]});
        let config = stage.config().with(&["containers"], containers);
        stage.start(&config).await?;
        let web = Container::start(stage, "web", Network::Routed).await?;
        armed(stage, 1).await?;
        assert!(!is_direct(&web.succeed(stage, &curl(&["-i", "-4"])).await?));
        stage.crash().await;
        assert!(is_direct(&web.succeed(stage, &curl(&["-i", "-4"])).await?));
        assert_eq!(last_peer(stage).as_deref(), Some(OWN4));
        assert!(!web.listens(stage).await?, "nothing is left inside");

        stage.start(&config).await?;
        armed(stage, 1).await?;
        assert!(!is_direct(&web.succeed(stage, &curl(&["-i", "-4"])).await?));
        Ok(())
    })
}

#[test]
fn switching_off_and_on_holds_in_containers_too() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let containers = json!({"meter": ["container:web"]});
        stage.start(&stage.config().with(&["containers"], containers)).await?;
        let web = Container::start(stage, "web", Network::Routed).await?;
        armed(stage, 1).await?;
        for (words, direct) in [
            (["mode", "observe"].as_slice(), true),
            (&["mode", "meter"], false),
            (&["down"], true),
            (&["up"], false),
        ] {
            stage.told(words).await?;
            until("what was asked for", async || {
                let output = web.succeed(stage, &curl(&["-i", "-4"])).await?;
                Ok((is_direct(&output) == direct).then_some(()))
            })
            .await?;
            if direct {
                armed(stage, 0).await?;
                assert!(!web.listens(stage).await?, "after weir {words:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_listener_that_was_closed_inside_is_opened_again() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let containers = json!({"meter": ["container:web"]});
        stage.start(&stage.config().with(&["containers"], containers)).await?;
        let web = Container::start(stage, "web", Network::Routed).await?;
        armed(stage, 1).await?;
        let words = curl(&["-i", "-4"]);
        assert!(!is_direct(&web.succeed(stage, &words).await?));
        close(stage, |door| door.elsewhere)?;
        assert!(is_direct(&web.succeed(stage, &words).await?));
        until("a metered connection", async || {
            Ok((!is_direct(&web.succeed(stage, &words).await?)).then_some(()))
        })
        .await
    })
}
