//! The ways in that a client chooses itself: proxy and base URLs, and whom they turn away.

use std::net::SocketAddr;

use harness::{BYSTANDER, Manner, Origin, Provider, Route, Stage, curl, on_stage};
use serde_json::json;

const PROXY: &str = "http://127.0.0.1:4180";

#[test]
fn connect_is_metered_and_attributed() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let output = stage.succeed(Route::Proxy, &curl(&[])).await?;
        let calls = stage.settled(1).await?;
        assert_eq!(calls[0]["via"], "connect");
        assert_eq!(calls[0]["pid"], output.pid);
        assert_eq!(calls[0]["workload"], "exe:curl");
        assert_eq!(calls[0]["cost_usd"], "0.00027", "1000 × $0.15/M + 200 × $0.60/M");
        Ok(())
    })
}

#[test]
fn connect_to_a_host_that_is_no_provider_is_tunnelled_untouched() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let other = Provider::listening(vec![SocketAddr::new(BYSTANDER.1, 443)]).await?;
        let only = only_trusting(stage, other.ca_pem())?;
        let config = stage.config();
        stage.start(&config).await?;
        let url = "https://192.0.2.20/v1/chat/completions";
        let words = [&only.each_ref().map(String::as_str)[..], &[url]].concat();
        let output = stage.succeed(Route::Proxy, &curl(&words)).await?;
        assert_eq!(other.control().stats().billed, 1);
        let process = stage.process(output.pid).await?;
        assert_eq!(process["connections"][0]["treatment"], "opaque");
        assert_eq!(process["connections"][0]["provider"], "unknown");
        assert_eq!(stage.calls().await?, [] as [serde_json::Value; 0]);
        Ok(())
    })
}

#[test]
fn plain_http_through_the_proxy_is_metered_for_providers_only() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let model = Origin::start(SocketAddr::new(BYSTANDER.1, 8080), Manner::Http).await?;
        let local = json!({
            "hosts": [BYSTANDER.0], "format": "openai", "free": true,
            "base_url": "http://bystander.example:8080/v1",
        });
        let config = stage.config().with(&["providers", "local"], local);
        stage.start(&config).await?;
        for url in [
            "http://bystander.example:8080/v1/chat/completions",
            "http://192.0.2.20:8080/v1/chat/completions",
            "http://127.0.0.1:4180/local/v1/chat/completions",
        ] {
            let proxy = if url.contains("4180") { "" } else { PROXY };
            let output = stage.succeed(Route::Direct, &curl(&["-x", proxy, url])).await?;
            assert!(output.stdout.contains("\"prompt_tokens\":1000"), "{}", output.stdout);
        }
        let calls = stage.settled(2).await?;
        let seen = |name: &str| calls.iter().map(|call| call[name].clone()).collect::<Vec<_>>();
        assert_eq!(seen("via"), ["forward", "gateway"]);
        assert_eq!(seen("provider"), ["local", "local"]);
        assert_eq!(seen("input_tokens"), [1000, 1000]);
        assert_eq!(seen("cost_usd"), ["0.00", "0.00"]);
        let heads = model.heads();
        assert_eq!(heads.len(), 3);
        for head in &heads {
            assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
        }
        Ok(())
    })
}

#[test]
fn the_gateway_finds_the_provider_by_path_or_model() -> anyhow::Result<()> {
    const CASES: [(&str, &str, &str); 5] = [
        ("/openai/v1/chat/completions", "gpt-4o-mini", "openai"),
        ("/anthropic/v1/messages", "claude-sonnet-4-5", "anthropic"),
        ("/v1/messages", "claude-sonnet-4-5", "anthropic"),
        ("/v1/chat/completions", "gpt-4o-mini", "openai"),
        ("/v1/chat/completions", "claude-sonnet-4-5", "anthropic"),
    ];
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        for (path, model, _provider) in CASES {
            let body = json!({"model": model, "max_tokens": 9, "messages": []}).to_string();
            let url = format!("http://127.0.0.1:4180{path}");
            stage.succeed(Route::Direct, &curl(&["-d", &body, &url])).await?;
        }
        let calls = stage.settled(CASES.len()).await?;
        for (call, (path, model, provider)) in calls.iter().zip(CASES) {
            assert_eq!(call["provider"], provider, "{path} {model}");
            assert_eq!(call["model"], model);
            assert_eq!(call["via"], "gateway");
            assert_eq!(call["outcome"], "ok");
        }
        Ok(())
    })
}

#[test]
fn the_gateway_asks_for_a_base_url_where_the_model_tells_no_provider() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let body = "{\"model\":\"mystery-1\",\"messages\":[]}";
        let url = "http://127.0.0.1:4180/v1/chat/completions";
        let refused =
            stage.run(Route::Direct, &curl(&["-d", body, "-w", "%{http_code}", url])).await?;
        assert!(refused.stdout.ends_with("400"), "{}", refused.stdout);
        assert!(refused.stdout.contains("/openai/v1"), "{}", refused.stdout);
        assert_eq!(stage.provider().stats().requests, 0);
        Ok(())
    })
}

#[test]
fn the_gateway_forwards_bodies_over_the_limit_where_anything_tells_the_provider()
-> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config().with(&["limits", "request_body"], json!("4KiB"));
        stage.start(&config).await?;
        let filler = "x".repeat(300_000);
        let first = format!("{{\"model\":\"gpt-4o-mini\",\"user\":\"{filler}\",\"messages\":[]}}");
        let last = format!("{{\"user\":\"{filler}\",\"model\":\"gpt-4o-mini\",\"messages\":[]}}");
        let post = |path: &str, body: &str| -> anyhow::Result<Vec<String>> {
            let file = stage.scratch().join("body.json");
            std::fs::write(&file, body)?;
            let (url, data) = (format!("http://127.0.0.1:4180{path}"), file.display().to_string());
            let words = ["-d".to_owned(), format!("@{data}"), url];
            Ok([vec!["-w".to_owned(), "%{http_code}".to_owned()], words.to_vec()].concat())
        };
        // The model comes first, or only OpenAI has such a path.
        for (path, body) in [("/v1/chat/completions", &first), ("/v1/responses", &last)] {
            let words = post(path, body)?;
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            stage.succeed(Route::Direct, &curl(&words)).await?;
            let seen = stage.provider().seen();
            // The provider answers when it has all that is announced.
            let announced = seen.last().and_then(|seen| seen.headers.get("content-length"));
            assert_eq!(announced.unwrap(), &body.len().to_string(), "{path}");
        }
        for call in stage.settled(2).await? {
            assert_eq!((&call["provider"], &call["kind"]), (&json!("openai"), &json!("opaque")));
            assert_eq!(call["flags"], json!(["body_unread"]), "{call}");
        }
        let words = post("/v1/chat/completions", &last)?;
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let refused = stage.run(Route::Direct, &curl(&words)).await?;
        assert!(refused.stdout.ends_with("413"), "{}", refused.stdout);
        assert!(refused.stdout.contains("/openai/v1"), "{}", refused.stdout);
        Ok(())
    })
}

#[test]
fn the_gateway_answers_no_other_site() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let url = "http://127.0.0.1:4180/openai/v1/chat/completions";
        for header in ["host: evil.example", "origin: https://evil.example", "origin: null"] {
            let refused =
                stage.run(Route::Direct, &curl(&["-H", header, "-w", "%{http_code}", url])).await?;
            assert!(refused.stdout.ends_with("403"), "{header}: {}", refused.stdout);
        }
        assert_eq!(stage.provider().stats().requests, 0);
        Ok(())
    })
}

#[test]
fn the_proxy_leads_neither_to_the_agent_nor_to_metadata() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        for (scheme, place, answer) in [
            ("https", "127.0.0.1:4181/metrics", "%{http_connect}"),
            ("https", "localhost:4180/", "%{http_connect}"),
            ("https", "169.254.169.254/", "%{http_connect}"),
            ("http", "127.0.0.1:4181/metrics", "%{http_code}"),
            ("http", "169.254.169.254/latest/meta-data/", "%{http_code}"),
        ] {
            let url = format!("{scheme}://{place}");
            let refused =
                stage.run(Route::Direct, &curl(&["-x", PROXY, "-w", answer, &url])).await?;
            assert_ne!(refused.code, Some(0), "{url}");
            assert!(refused.stdout.ends_with("403"), "{url}: {}", refused.stdout);
        }
        Ok(())
    })
}

#[test]
fn the_proxy_knows_the_agents_listeners_of_the_moment() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        stage.told(&["down"]).await?;
        stage.told(&["up"]).await?;
        let status: serde_json::Value =
            serde_json::from_str(&stage.told(&["status", "--json"]).await?)?;
        let listeners = status["listeners"].as_array().cloned().unwrap_or_default();
        let intercept: Vec<_> = listeners
            .iter()
            .filter(|listener| listener["name"] == "intercept")
            .filter_map(|listener| listener["address"].as_str())
            .collect();
        assert!(!intercept.is_empty(), "{status}");
        for address in intercept {
            let url = format!("http://{address}/");
            let words = ["-x", PROXY, "--globoff", "-w", "%{http_code}", &url];
            let refused = stage.run(Route::Direct, &curl(&words)).await?;
            assert!(refused.stdout.ends_with("403"), "{url}: {}", refused.stdout);
        }
        Ok(())
    })
}

#[test]
fn a_provider_that_is_the_agent_itself_ends_at_the_first_turn() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let mirror = json!({
            "hosts": ["mirror.example"], "format": "openai",
            "base_url": "http://127.0.0.1:4180/mirror/v1",
        });
        let config = stage.config().with(&["providers", "mirror"], mirror);
        stage.start(&config).await?;
        let url = "http://127.0.0.1:4180/mirror/v1/chat/completions";
        let output = stage.run(Route::Direct, &curl(&["-w", "%{http_code}", url])).await?;
        assert!(output.stdout.ends_with("502"), "{}", output.stdout);
        let calls = stage.settled(1).await?;
        assert_eq!(calls.len(), 1, "it does not call itself");
        assert_eq!(calls[0]["outcome"], "connect_error", "{}", calls[0]);
        Ok(())
    })
}

/// The words that make curl trust one CA and none of the system's.
fn only_trusting(stage: &Stage, pem: &str) -> anyhow::Result<[String; 4]> {
    let file = stage.scratch().join("only.pem");
    std::fs::write(&file, pem)?;
    let file = file.display().to_string();
    Ok(["--cacert".to_owned(), file, "--capath".to_owned(), "/nonexistent".to_owned()])
}
