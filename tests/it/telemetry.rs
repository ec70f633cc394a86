//! OpenTelemetry with real traffic: what a collector gets is what the ledger has, below the span
//! of whoever asked, and a collector that is of no use costs nobody anything.

use std::collections::{BTreeMap, BTreeSet};

use agent::demo::daemon::Config;
use agent::demo::mock::{Ending, Script, Tokens};
use anyhow::{Context, ensure};
use harness::collector::{Collector, Temper, said};
use harness::{Output, Route, Stage, curl, money, on_stage, until};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::trace::v1::Span;
use rustix::process::Signal;
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const STREAM: &str = "{\"model\":\"gpt-4o-mini\",\"stream\":true,\"messages\":\
    [{\"role\":\"user\",\"content\":\"a-word-nobody-else-says\"}]}";

fn sending(stage: &Stage) -> Config {
    stage.config().with(&["tracing", "enabled"], json!(true))
}

/// A header that says: this is below my span, and it is kept.
fn traceparent(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{PARENT}-{flags}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// The spans of so many calls, once they are there: each call's own, by the call's id.
async fn calls(collector: &Collector, count: usize) -> anyhow::Result<BTreeMap<String, Span>> {
    until("the spans of all calls", async || {
        let id = |span: &Span| {
            said(&span.attributes).get("weir.call_id").and_then(Value::as_str).map(str::to_owned)
        };
        let spans = collector.spans().into_iter();
        let calls: BTreeMap<_, _> = spans.filter_map(|span| Some((id(&span)?, span))).collect();
        Ok((calls.len() >= count).then_some(calls))
    })
    .await
}

/// The spans below this one.
fn below(collector: &Collector, span: &Span) -> Vec<Span> {
    let all = collector.spans().into_iter();
    all.filter(|one| one.parent_span_id == span.span_id).collect()
}

/// The call that a client made, as the ledger has it.
async fn call_of(stage: &Stage, client: &Output) -> anyhow::Result<Value> {
    until("the client's call", async || {
        let calls = stage.calls().await?;
        let ended = |call: &Value| call["pid"] == client.pid && !call["outcome"].is_null();
        Ok(calls.into_iter().find(ended))
    })
    .await
}

/// What the provider was told of traces, request by request.
fn told(stage: &Stage) -> Vec<Option<String>> {
    let of = |headers: &http::HeaderMap| {
        let parent = headers.get("traceparent")?;
        parent.to_str().ok().map(str::to_owned)
    };
    stage.provider().seen().iter().map(|seen| of(&seen.headers)).collect()
}

/// Nano-dollars of a double of dollars.
#[expect(clippy::cast_possible_truncation, reason = "cents, rounded")]
fn nanos(dollars: &Value) -> Option<i64> {
    dollars.as_f64().map(|dollars| (dollars * 1e9).round() as i64)
}

#[test]
fn a_call_is_below_its_clients_span_and_says_what_the_ledger_says() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let collector = Collector::start().await?;
        let tokens =
            Tokens { input: 1_200, cached: 800, cache_write: 0, output: 300, reasoning: 100 };
        stage.provider().standing(Script { tokens, ..Script::default() });
        let config = sending(stage);
        stage.start(&config).await?;
        let parent = traceparent("01");
        for (number, route) in [Route::Redirect, Route::Proxy].into_iter().enumerate() {
            let more = ["-H", &parent, "-H", "tracestate: vendor=1", "-d", STREAM];
            let output = stage.succeed(route, &curl(&more)).await?;
            let call = call_of(stage, &output).await?;
            let id = call["call_id"].as_str().context("a call has an id")?;
            let spans = calls(&collector, number + 1).await?;
            let span = spans.get(id).with_context(|| format!("{id} in {spans:?}"))?;
            assert_eq!(
                (hex(&span.trace_id), hex(&span.parent_span_id)),
                (TRACE.into(), PARENT.into())
            );
            assert_eq!((&*span.trace_state, &*span.name), ("vendor=1", "chat gpt-4o-mini"));
            let said = said(&span.attributes);
            assert_eq!(
                nanos(&said["weir.cost_usd"]),
                Some(money::nanos(call["cost_usd"].as_str().context("a price")?)?)
            );
            assert_eq!(said["gen_ai.usage.input_tokens"], 1_200);
            assert_eq!(said["gen_ai.usage.cache_read.input_tokens"], 800);
            assert_eq!(said["gen_ai.usage.output_tokens"], 300);
            assert_eq!(said["gen_ai.usage.reasoning.output_tokens"], 100);
            let of_ledger = |keys: [&str; 2]| -> Option<u64> {
                keys.iter().map(|key| call[*key].as_u64()).sum()
            };
            assert_eq!(of_ledger(["input_tokens", "cache_read_tokens"]), Some(1_200), "{call}");
            assert_eq!(of_ledger(["output_tokens", "reasoning_tokens"]), Some(300), "{call}");
            for (key, value) in [
                ("gen_ai.provider.name", json!("openai")),
                ("gen_ai.request.model", json!("gpt-4o-mini")),
                ("gen_ai.response.model", call["model_served"].clone()),
                ("gen_ai.request.stream", json!(true)),
                ("server.address", json!("api.openai.com")),
                ("http.response.status_code", json!(200)),
                ("weir.workload", call["workload"].clone()),
                ("process.pid", json!(output.pid)),
            ] {
                assert_eq!(said.get(key), Some(&value), "{key}");
            }
            assert!(span.events.iter().any(|event| event.name == "weir.first_token"), "{span:?}");
            let tries = below(&collector, span);
            let [attempt] = &tries[..] else { anyhow::bail!("one try: {tries:?}") };
            let expected = format!("00-{TRACE}-{}-01", hex(&attempt.span_id));
            assert_eq!(told(stage).get(number), Some(&Some(expected)));
            let seen = stage.provider().seen();
            assert_eq!(seen[number].headers["tracestate"], "vendor=1");
        }
        let resource = collector.resource();
        assert_eq!(
            (&resource["service.name"], &resource["deployment.environment.name"]),
            (&json!("weir"), &json!("default"))
        );
        assert!(resource.contains_key("host.name"), "{resource:?}");
        let everything = format!("{:?}{:?}", collector.spans(), collector.lines());
        assert!(!everything.contains("a-word-nobody-else-says"), "no content");
        assert!(!everything.contains("sk-test"), "no credential");
        Ok(())
    })
}

#[test]
fn each_try_is_a_span_of_its_own_that_the_provider_knows() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let collector = Collector::start().await?;
        let ending = Ending::Status { code: 503, retry_after: None };
        stage.provider().once(Script { ending, ..Script::default() });
        let config = sending(stage).with(&["mode"], json!("enforce"));
        stage.start(&config).await?;
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        let spans = calls(&collector, 1).await?;
        let call = spans.values().next().context("a call")?;
        assert!(call.parent_span_id.is_empty() && call.status.is_none(), "{call:?}");
        let mut tries = below(&collector, call);
        tries.sort_by_key(|span| span.start_time_unix_nano);
        let [first, second] = &tries[..] else { anyhow::bail!("two tries: {tries:?}") };
        assert_eq!(said(&first.attributes)["error.type"], "503");
        assert!(first.status.is_some() && second.status.is_none());
        assert!(first.end_time_unix_nano <= second.start_time_unix_nano);
        let expected = [first, second]
            .map(|span| Some(format!("00-{}-{}-01", hex(&call.trace_id), hex(&span.span_id))));
        assert_eq!(told(stage), expected);
        let decided: Vec<_> =
            call.events.iter().filter(|event| event.name == "weir.decision").collect();
        let retried = decided.iter().any(|event| {
            let said = said(&event.attributes);
            said["weir.policy"] == "retry" && said["weir.action"] == "retry"
        });
        assert!(retried, "{decided:?}");
        Ok(())
    })
}

#[test]
fn a_share_is_kept_and_a_clients_own_word_comes_first() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let collector = Collector::start().await?;
        let config = sending(stage).with(&["tracing", "sample_rate"], json!(0));
        stage.start(&config).await?;
        let (kept, left) = (traceparent("01"), traceparent("00"));
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        stage.succeed(Route::Redirect, &curl(&["-H", &left])).await?;
        stage.succeed(Route::Redirect, &curl(&["-H", &kept])).await?;
        // A line for each of them, whether or not it is traced.
        let lines = until("a line for each call", async || {
            let lines = collector.lines();
            let calls: Vec<_> =
                lines.into_iter().filter(|line| line.event_name == "weir.call").collect();
            Ok((calls.len() >= 3).then_some(calls))
        })
        .await?;
        let traces: Vec<_> = lines.iter().map(|line| hex(&line.trace_id)).collect();
        assert_eq!(traces, ["", "", TRACE]);
        let spans = calls(&collector, 1).await?;
        let span = spans.values().next().context("a call")?;
        assert_eq!((spans.len(), &span.span_id), (1, &lines[2].span_id));
        let told = told(stage);
        assert_eq!(told[..2], [None, Some(format!("00-{TRACE}-{PARENT}-00"))]);
        Ok(())
    })
}

/// Waits for more failures than these.
async fn failures(stage: &Stage, before: u64) -> anyhow::Result<()> {
    until("failures", async || {
        let failures: u64 = stage.metric("weir_telemetry_failures_total", "traces").await?;
        Ok((failures > before).then_some(()))
    })
    .await
}

#[test]
fn a_collector_that_is_of_no_use_costs_nobody_anything() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = sending(stage).with(&["tracing", "timeout"], json!("1s"));
        stage.start(&config).await?;
        // Nobody listens.
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        failures(stage, 0).await?;
        // Somebody does, and says nothing.
        let collector = Collector::start().await?;
        collector.be(Temper::Silent);
        until("a question", async || Ok((collector.asked() > 0).then_some(()))).await?;
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        let before = stage.metric::<u64>("weir_telemetry_failures_total", "traces").await?;
        failures(stage, before).await?;
        let status = stage.daemon()?.read(&["status"]).await?;
        assert!(
            status.to_string().contains("nothing arrives at http://127.0.0.1:4318"),
            "{status}"
        );
        // What it will never take is dropped.
        collector.be(Temper::Refusing(400));
        let asked = collector.asked();
        until("another question", async || Ok((collector.asked() > asked).then_some(()))).await?;
        until("dropped spans", async || {
            stage.succeed(Route::Redirect, &curl(&[])).await?;
            let dropped: u64 = stage.metric("weir_telemetry_dropped_total", "traces").await?;
            Ok((dropped > 0).then_some(()))
        })
        .await?;
        // And once it is well again, what comes arrives.
        collector.be(Temper::Willing);
        until("a span", async || {
            stage.succeed(Route::Redirect, &curl(&[])).await?;
            Ok((!collector.spans().is_empty()).then_some(()))
        })
        .await?;
        let calls = stage.calls().await?;
        let mut ended = calls.iter().filter(|call| !call["outcome"].is_null());
        assert!(ended.all(|call| call["outcome"] == "ok"), "{calls:?}");
        collector.be(Temper::Silent);
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        assert_eq!(stage.stop().await?, Some(0));
        Ok(())
    })
}

#[test]
fn the_end_sends_what_waits_and_the_sums_are_the_ledgers() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let collector = Collector::start().await?;
        let config = sending(stage)
            .with(&["tracing", "compression"], json!("gzip"))
            .with(&["tracing", "metrics_interval"], json!("1h"));
        stage.start(&config).await?;
        for _ in 0..5 {
            stage.succeed(Route::Redirect, &curl(&[])).await?;
        }
        let failing = Ending::Status { code: 500, retry_after: None };
        stage.provider().once(Script { ending: failing, ..Script::default() });
        stage.run(Route::Redirect, &curl(&[])).await?;
        let settled = stage.settled(6).await?;
        assert!(collector.metrics().is_empty(), "an hour has not passed");
        assert_eq!(stage.stop().await?, Some(0));
        let found: BTreeSet<_> = calls(&collector, 6).await?.into_keys().collect();
        let ids = settled.iter().filter_map(|call| call["call_id"].as_str().map(str::to_owned));
        assert_eq!(found, ids.collect());

        let spent: anyhow::Result<Vec<_>> = settled
            .iter()
            .map(|call| money::nanos(call["cost_usd"].as_str().context("a price")?))
            .collect();
        let sum = |key: &str| settled.iter().filter_map(|call| call[key].as_u64()).sum::<u64>();
        let (mut sums, mut cost) = (BTreeMap::new(), 0);
        for metric in collector.metrics() {
            match metric.data.context("a metric has data")? {
                Data::Histogram(histogram) => {
                    for point in histogram.data_points {
                        let said = said(&point.attributes);
                        assert_eq!(said["gen_ai.provider.name"], "openai", "{said:?}");
                        let kind = said.get("gen_ai.token.type").and_then(Value::as_str);
                        let kind = kind.or_else(|| said.get("error.type").and_then(Value::as_str));
                        let name = format!("{} {}", metric.name, kind.unwrap_or("-"));
                        sums.insert(name, (point.count, point.sum));
                    }
                }
                Data::Sum(sum) => {
                    for point in sum.data_points {
                        let Some(Number::AsDouble(dollars)) = point.value else {
                            anyhow::bail!("{point:?}")
                        };
                        cost += nanos(&json!(dollars)).context("dollars")?;
                    }
                }
                other => anyhow::bail!("{other:?}"),
            }
        }
        assert_eq!(cost, spent?.iter().sum::<i64>());
        let tokens = |word: &str| sums.get(&format!("gen_ai.client.token.usage {word}")).copied();
        #[expect(clippy::cast_precision_loss, reason = "a few thousand tokens")]
        let whole = |tokens: u64| Some((5, Some(tokens as f64)));
        assert_eq!(tokens("input"), whole(sum("input_tokens") + sum("cache_read_tokens")));
        assert_eq!(tokens("output"), whole(sum("output_tokens") + sum("reasoning_tokens")));
        let count = |word: &str| {
            sums.get(&format!("gen_ai.client.operation.duration {word}")).map(|(count, _)| *count)
        };
        assert_eq!((count("-"), count("500")), (Some(5), Some(1)));
        Ok(())
    })
}

#[test]
fn it_is_switched_on_and_off_while_calls_go_on() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let collector = Collector::start().await?;
        let config = stage.config();
        stage.start(&config).await?;
        let parent = traceparent("01");
        let ask = curl(&["-H", &parent]);
        stage.succeed(Route::Redirect, &ask).await?;
        stage.settled(1).await?;
        assert_eq!(told(stage), [Some(format!("00-{TRACE}-{PARENT}-01"))], "untouched");

        let dir = stage.daemon()?.home().join("conf.d");
        std::fs::create_dir_all(&dir)?;
        let write = |text: &str| std::fs::write(dir.join("50-test.yaml"), text);
        write("tracing: {enabled: true, endpoint: 'http://127.0.0.1:4317'}\n")?;
        let refused = stage.daemon()?.weir(&["config", "reload"]).output().await?;
        let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(!refused.status.success(), "{complaint}");

        write("tracing: {enabled: true}\n")?;
        stage.told(&["config", "reload"]).await?;
        let output = stage.succeed(Route::Redirect, &ask).await?;
        let call = call_of(stage, &output).await?;
        let spans = calls(&collector, 1).await?;
        assert_eq!(spans.keys().next().map(String::as_str), call["call_id"].as_str());

        write("tracing: {enabled: false}\n")?;
        stage.signal(Signal::HUP)?;
        until("a call that is passed on untouched", async || {
            stage.succeed(Route::Redirect, &ask).await?;
            let last = told(stage).pop().flatten();
            Ok((last == Some(format!("00-{TRACE}-{PARENT}-01"))).then_some(()))
        })
        .await?;
        // One reload at a time: after this one the first is over.
        stage.told(&["config", "reload"]).await?;
        let output = stage.succeed(Route::Redirect, &ask).await?;
        let call = call_of(stage, &output).await?;
        let id = call["call_id"].as_str().context("a call has an id")?;
        // At the end whatever waits is sent.
        assert_eq!(stage.stop().await?, Some(0));
        let everything = format!("{:?}{:?}", collector.spans(), collector.lines());
        assert!(!everything.contains(id), "a call after it was switched off was told of");
        Ok(())
    })
}
