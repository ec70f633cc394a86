//! The programs cannot be loaded: somebody says why, and connections go where they were going.

use harness::{Route, artefacts, curl, on_stage};
use serde_json::Value;

use super::{is_direct, is_metered};

/// Starts the agent as root without what the verifier asks for.
const WITHOUT: &str = "#!/bin/sh\nexec setpriv --bounding-set=-perfmon,-sys_admin WEIR \"$@\"\n";
const REASON: &str = "the kernel half needs CAP_PERFMON";

#[test]
fn without_a_capability_that_one_is_named_and_connections_go_direct() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let starter = stage.scratch().join("starter");
        let weir = artefacts::weir()?;
        artefacts::program(&WITHOUT.replace("WEIR", &weir.display().to_string()), &starter)?;
        let config = stage.config();
        stage.start_by(&starter, &config).await?;

        let status: Value = stage.daemon()?.read(&["status"]).await?;
        assert_eq!(status["capture"]["on"], false, "{status}");
        assert_eq!(status["capture"]["reason"], REASON, "{status}");
        let warned = format!("no connection is captured: {REASON}");
        let warnings = status["warnings"].as_array().into_iter().flatten();
        assert!(warnings.into_iter().any(|warning| warning["what"] == warned), "{status}");
        for version in ["-4", "-6"] {
            assert!(!is_metered(stage, &[version]).await?, "{version}");
        }
        // Whoever comes by itself is served.
        let output = stage.succeed(Route::Proxy, &curl(&["-i"])).await?;
        assert!(!is_direct(&output), "{}", output.stdout);
        Ok(())
    })
}
