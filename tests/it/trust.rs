//! Clients that do not accept the agent's CA: one call is lost at most, and it is said.

use harness::{Route, curl, on_stage, until, urllib};
use serde_json::json;

#[test]
fn a_client_that_does_not_trust_the_ca_fails_once_and_is_then_left_alone() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start_untrusted(&config).await?;
        let python = stage.succeed(Route::Redirect, &["python3", "-c", &urllib(3)]).await?;
        assert_eq!(python.stdout, "SSLCertVerificationError\n200\n200\n");
        let process = stage.process(python.pid).await?;
        assert_eq!(process["coverage"], "untrusted", "{process}");
        // The stage sets the variable for all its clients, and without an installed CA.
        let cause = process["cause"].as_str().unwrap_or_default();
        assert!(cause.starts_with("SSL_CERT_FILE="), "{process}");
        assert!(process["fix"].as_str().is_some_and(|fix| fix.starts_with("weir run -- python3")));
        assert_eq!(stage.metric::<u64>("weir_tls_trust_failures_total", "").await?, 1);
        let relayed = stage.metric::<u64>("weir_connections_total", "reason=\"untrusted\"").await?;
        assert_eq!(relayed, 2);
        assert_eq!(stage.calls().await?, [] as [serde_json::Value; 0]);
        Ok(())
    })
}

#[test]
fn a_programs_next_run_is_left_alone_too() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start_untrusted(&config).await?;
        let first = stage.run(Route::Redirect, &curl(&[])).await?;
        assert_eq!(first.code, Some(60), "{}", first.stderr);
        // The verdict follows the client's leaving; until then it would be asked again.
        stage.process(first.pid).await?;
        let second = stage.succeed(Route::Redirect, &curl(&[])).await?;
        let process = stage.process(second.pid).await?;
        assert_eq!(process["coverage"], "untrusted");
        assert_eq!(process["connections"][0]["reason"], "untrusted");
        Ok(())
    })
}

#[test]
fn clients_that_do_not_trust_the_ca_are_refused_where_the_settings_say_so() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config().with(&["on_untrusted"], json!("block"));
        stage.start_untrusted(&config).await?;
        let first = stage.run(Route::Redirect, &curl(&[])).await?;
        stage.process(first.pid).await?;
        let second = stage.run(Route::Redirect, &curl(&[])).await?;
        assert_ne!(second.code, Some(0));
        let process = stage.process(second.pid).await?;
        assert_eq!(process["connections"][0]["treatment"], "blocked");
        assert_eq!(stage.provider().stats().billed, 0);
        Ok(())
    })
}

#[test]
fn without_trust_the_agent_only_observes_and_says_that_it_does_less() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config().with(&["trust", "assume"], json!(false));
        stage.start_untrusted(&config).await?;
        let status = stage.daemon()?.weir(&["status", "--json"]).output().await?;
        assert_eq!(status.status.code(), Some(10));
        let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
        assert_eq!(status["mode"]["wanted"], "meter");
        assert_eq!(status["mode"]["effective"], "observe");
        assert_eq!(status["state"], "degraded");

        let output = stage.succeed(Route::Redirect, &curl(&[])).await?;
        let process = stage.process(output.pid).await?;
        assert_eq!(process["coverage"], "observed", "{process}");
        assert_eq!(process["fix"], "weir trust install --yes", "{process}");
        let connection = &process["connections"][0];
        assert_eq!(connection["treatment"], "direct");
        assert_eq!(connection["provider"], "openai");
        assert!(connection["bytes_up"].as_u64() > Some(100), "{connection}");
        assert!(connection["bytes_down"].as_u64() > Some(500), "{connection}");
        Ok(())
    })
}

#[test]
fn weir_run_meters_one_process_without_an_installed_ca() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config().with(&["trust", "assume"], json!(false));
        stage.start_untrusted(&config).await?;
        let command = curl(&[]);
        let line = stage.weir(&[&["run", "--"], &command[..]].concat())?;
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        let output = stage.succeed(Route::Redirect, &line).await?;
        let calls = stage.settled(1).await?;
        assert_eq!(calls[0]["pid"], output.pid);
        assert_eq!(calls[0]["workload"], "exe:curl");
        assert_eq!(calls[0]["cost_usd"], "0.00027");
        Ok(())
    })
}

#[test]
fn verdicts_outlive_the_agent() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start_untrusted(&config).await?;
        let first = stage.run(Route::Redirect, &curl(&[])).await?;
        assert_eq!(first.code, Some(60), "{}", first.stderr);
        let process = stage.process(first.pid).await?;
        assert_eq!(process["coverage"], "untrusted", "{process}");
        // Even one that ends without a word: verdicts are kept as they are made.
        let kept = stage.scratch().join("weir/state/trust.json");
        until("the kept verdict", async || {
            Ok(std::fs::read_to_string(&kept).ok().filter(|text| text.contains("/usr/bin/curl")))
        })
        .await?;
        stage.crash().await;
        stage.start_untrusted(&config).await?;
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        // With other variables it is another client, who may well trust us.
        let other = ["env", "SSL_CERT_DIR=/nowhere"];
        let other = stage.run(Route::Redirect, &[&other, &curl(&[])[..]].concat()).await?;
        assert_eq!(other.code, Some(60), "{}", other.stderr);
        Ok(())
    })
}

#[test]
fn a_silent_client_is_left_alone_after_one_failure() -> anyhow::Result<()> {
    // Node sends no alert: it closes the connection after our certificate.
    const THRICE: &str = "
const https = require('https');
const once = () => new Promise((done) => {
  const request = https.request('https://api.openai.com/v1/chat/completions',
    {method: 'POST', agent: false, headers: {authorization: 'Bearer sk-test'}},
    (answer) => { answer.resume(); answer.on('end', () => done(answer.statusCode)); });
  request.on('error', (error) => done(error.code));
  request.end('{\"model\":\"gpt-4o-mini\",\"messages\":[]}');
});
(async () => { for (let i = 0; i < 3; i++) console.log(await once()); })();
";
    on_stage(async |stage| {
        let config = stage.config();
        stage.start_untrusted(&config).await?;
        let node = stage.succeed(Route::Redirect, &["node", "-e", THRICE]).await?;
        let said: Vec<&str> = node.stdout.lines().collect();
        assert_eq!(said[1..], ["200", "200"], "{}", node.stdout);
        assert_ne!(said[0], "200");
        let process = stage.process(node.pid).await?;
        assert_eq!(process["coverage"], "untrusted", "{process}");
        let cause = process["cause"].as_str().unwrap_or_default();
        assert!(cause.contains("NODE_EXTRA_CA_CERTS"), "{process}");
        Ok(())
    })
}

#[test]
fn sdks_that_try_again_lose_no_call() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start_untrusted(&config).await?;
        let clients = [
            ("python-current", "openai_chat.py"),
            ("python-current", "anthropic_messages.py"),
            ("python-legacy", "openai_chat.py"),
            ("node", "openai_chat.mjs"),
        ];
        for (home, script) in clients {
            let output = stage.script(Route::Redirect, home, script).await?;
            assert_eq!(output.code, Some(0), "{home} {script}: {}", output.stderr);
            let process = stage.process(output.pid).await?;
            assert_eq!(process["coverage"], "untrusted", "{process}");
        }
        assert_eq!(stage.metric::<u64>("weir_tls_trust_failures_total", "").await?, 4);
        assert_eq!(stage.calls().await?, [] as [serde_json::Value; 0]);
        Ok(())
    })
}
