//! The mock provider behaves as the real ones do, and misbehaves as told.

use std::time::Duration;

use agent::demo::mock::{Ending, Script, Tokens};
use harness::Provider;
use harness::http::{Connection, Version};
use http_body_util::BodyExt;
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

async fn connect(provider: &Provider, version: Version) -> anyhow::Result<Connection> {
    Connection::open(provider.address(), "api.openai.com", provider.ca_pem(), version).await
}

fn chat(stream: bool) -> Value {
    json!({
        "model": "gpt-4o-mini", "stream": stream, "stream_options": {"include_usage": stream},
        "messages": [{"role": "user", "content": "hi"}],
    })
}

#[tokio::test]
async fn bills_what_the_script_says_over_both_http_versions() -> anyhow::Result<()> {
    let provider = Provider::start().await?;
    for version in [Version::H1, Version::H2] {
        let mut connection = connect(&provider, version).await?;
        let script = [("x-mock", "input=1200 cached=800 output=300 reasoning=100")];
        let answer = connection.ask(CHAT, &script, Some(&chat(false))).await?;
        assert_eq!(answer.status(), 200);
        let answer: Value = serde_json::from_slice(answer.body())?;
        assert_eq!(answer["usage"]["prompt_tokens"], 1200);
        assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 800);
        assert_eq!(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 100);
    }
    let stats = provider.control().stats();
    assert_eq!((stats.connections, stats.billed), (2, 2));
    assert_eq!((stats.input_tokens, stats.output_tokens), (2400, 600));
    Ok(())
}

#[tokio::test]
async fn streams_as_many_events_as_the_script_says() -> anyhow::Result<()> {
    let provider = Provider::start().await?;
    let mut connection = connect(&provider, Version::H1).await?;
    let answer = connection.ask(CHAT, &[("x-mock", "chunks=5")], Some(&chat(true))).await?;
    let text = String::from_utf8(answer.body().to_vec())?;
    // Role, five times content, finish, usage, [DONE].
    assert_eq!(text.matches("data: ").count(), 9);
    assert!(text.ends_with("data: [DONE]\n\n"));
    assert!(text.contains("\"prompt_tokens\":1000"));
    Ok(())
}

#[tokio::test]
async fn speaks_every_endpoint_and_refuses_the_rest() -> anyhow::Result<()> {
    let provider = Provider::start().await?;
    let mut connection = connect(&provider, Version::H2).await?;
    let body = json!({"model": "m", "input": ["a", "b"], "messages": []});
    for (path, proof) in [
        (CHAT, "/object"),
        ("/v1/responses", "/output/0/content"),
        ("/v1/completions", "/choices/0/text"),
        ("/v1/embeddings", "/data/1/embedding"),
        ("/v1/messages", "/content/0/text"),
        ("/v1/messages/count_tokens", "/input_tokens"),
    ] {
        let answer = connection.ask(path, &[], Some(&body)).await?;
        let answer: Value = serde_json::from_slice(answer.body())?;
        assert!(answer.pointer(proof).is_some(), "{path}: {answer}");
    }
    let models = connection.ask("/v1/models", &[], None).await?;
    assert!(serde_json::from_slice::<Value>(models.body())?["data"].is_array());
    assert_eq!(connection.ask("/v1/nothing", &[], Some(&body)).await?.status(), 404);
    assert_eq!(provider.control().stats().billed, 5);
    Ok(())
}

#[tokio::test]
async fn a_queued_script_is_used_once_and_errors_have_the_dialects_shape() -> anyhow::Result<()> {
    let provider = Provider::start().await?;
    let limited = Ending::Status { code: 429, retry_after: Some(2) };
    provider.control().once(Script { ending: limited, ..Script::default() });
    let mut connection = connect(&provider, Version::H1).await?;
    let refused = connection.ask("/v1/messages", &[], Some(&chat(false))).await?;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "2");
    let body: Value = serde_json::from_slice(refused.body())?;
    assert_eq!(body["error"]["type"], "rate_limit_error");
    assert_eq!(connection.ask("/v1/messages", &[], Some(&chat(false))).await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn cuts_and_error_events_happen_where_the_script_says() -> anyhow::Result<()> {
    let provider = Provider::start().await?;
    let mut connection = connect(&provider, Version::H1).await?;
    let failed = connection.ask(CHAT, &[("x-mock", "error=2")], Some(&chat(true))).await?;
    let text = String::from_utf8(failed.body().to_vec())?;
    assert_eq!(text.matches("data: ").count(), 4);
    assert!(text.contains("server_error") && !text.contains("[DONE]"));

    let mut cut = connection.send(CHAT, &[("x-mock", "cut=2")], Some(&chat(true))).await?;
    let mut frames = 0;
    while let Some(frame) = cut.body_mut().frame().await {
        if frame.is_err() {
            assert_eq!(frames, 3, "role, then twice content");
            return Ok(());
        }
        frames += 1;
    }
    anyhow::bail!("the stream ended well");
}

#[tokio::test]
async fn squeezes_only_for_clients_that_accept_it() -> anyhow::Result<()> {
    let provider = Provider::start().await?;
    let gzip = Script { gzip: true, tokens: Tokens::default(), ..Script::default() };
    provider.control().standing(gzip);
    let mut connection = connect(&provider, Version::H1).await?;
    let accepts = [("accept-encoding", "gzip, br")];
    let answer = connection.ask(CHAT, &accepts, Some(&chat(true))).await?;
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    assert_eq!(answer.body()[..2], [0x1f, 0x8b]);
    let plain = connection.ask(CHAT, &[], Some(&chat(true))).await?;
    assert!(!plain.headers().contains_key("content-encoding"));
    Ok(())
}

#[tokio::test]
async fn refuses_connections_while_it_does_not_listen() -> anyhow::Result<()> {
    let provider = Provider::start().await?;
    connect(&provider, Version::H1).await?;
    provider.control().listen(false);
    let closed = async {
        while connect(&provider, Version::H1).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), closed).await?;
    provider.control().listen(true);
    let opened = async {
        while connect(&provider, Version::H1).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), opened).await?;
    Ok(())
}
