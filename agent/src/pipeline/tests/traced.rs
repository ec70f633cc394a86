//! Calls that are part of a trace.

use super::elsewhere::setup;
use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A call with these headers.
fn with(fields: &[(&'static str, &str)]) -> Request<Outgoing> {
    let mut request = call(ASK);
    for (name, value) in fields {
        let value = value.parse().expect("a header's value");
        request.headers_mut().insert(header::HeaderName::from_static(name), value);
    }
    request
}

async fn ask(scene: &Scene, request: Request<Outgoing>) -> http::StatusCode {
    let response = handle(Arc::clone(&scene.context), request).await;
    let (parts, body) = response.into_parts();
    body.collect().await.expect("a whole body");
    parts.status
}

/// What the provider was told of the trace, try by try.
fn told(asked: &Asked) -> Vec<(Option<String>, Option<String>)> {
    let asked = asked.lock();
    let field = |request: &Request<Bytes>, name: &str| {
        request.headers().get(name).map(|value| value.to_str().expect("ASCII").to_owned())
    };
    asked.iter().map(|it| (field(it, "traceparent"), field(it, "tracestate"))).collect()
}

fn tracing(share: u32) -> Setup {
    Setup { tracing: Some(SampleRate::millionths(share)), ..Setup::default() }
}

#[tokio::test(start_paused = true)]
async fn each_try_tells_the_provider_of_its_own_span() {
    let (provider, asked) = scripted([failed(503, "x"), json(ANSWER)]);
    let scene = acting(provider, tracing(0));
    let request = with(&[("traceparent", PARENT), ("tracestate", "vendor=1")]);
    assert_eq!(ask(&scene, request).await, 200);
    let record = scene.records.only();
    let trace = record.trace.as_ref().expect("its client traces it");
    assert_eq!(trace.parent.map(|it| it.to_string()).as_deref(), Some("b7ad6b7169203331"));
    let state = Some("vendor=1".to_owned());
    let expected = [1, 2].map(|number| (Some(trace.traceparent(number)), state.clone()));
    assert_eq!(told(&asked), expected);
    assert!(expected[0].0.as_ref().is_some_and(|sent| sent.starts_with(&PARENT[..35])));
    assert_ne!(expected[0], expected[1]);
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_the_place_of_another_is_told_too() {
    let (provider, asked) = scripted([failed(503, "x"), json(ANSWER)]);
    let mut setup = setup(&[("other", "large")]);
    setup.tracing = Some(SampleRate::millionths(SampleRate::WHOLE));
    let scene = acting(provider, setup);
    assert_eq!(ask(&scene, call(ASK)).await, 200);
    let record = scene.records.only();
    let trace = record.trace.as_ref().expect("all are kept");
    assert_eq!(trace.parent, None);
    let expected = [1, 2].map(|number| (Some(trace.traceparent(number)), None));
    assert_eq!(told(&asked), expected);
    assert_eq!(&*record.attempts[1].provider, "other");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_kept_passes_untouched() {
    let unsampled = PARENT.replace("-01", "-00");
    let all = tracing(SampleRate::WHOLE);
    for (setup, parent) in [(Setup::default(), PARENT), (all, unsampled.as_str())] {
        let (provider, asked) = scripted([json(ANSWER)]);
        let scene = acting(provider, setup);
        let request = with(&[("traceparent", parent), ("tracestate", "a=1,,b=2")]);
        assert_eq!(ask(&scene, request).await, 200);
        assert_eq!(told(&asked), [(Some(parent.to_owned()), Some("a=1,,b=2".to_owned()))]);
        assert_eq!(scene.records.only().trace, None);
    }
    let (provider, asked) = scripted([json(ANSWER)]);
    let scene = acting(provider, tracing(0));
    assert_eq!(ask(&scene, call(ASK)).await, 200);
    assert_eq!(told(&asked), [(None, None)]);
    assert_eq!(scene.records.only().trace, None);
}

#[tokio::test(start_paused = true)]
async fn a_signature_stays_valid() {
    let signed = "AWS4-HMAC-SHA256 Credential=AKID/20261122/eu-west-1/bedrock/aws4_request, \
                  SignedHeaders=host;traceparent;x-amz-date, Signature=00";
    let (provider, asked) = scripted([json(ANSWER)]);
    let scene = acting(provider, tracing(SampleRate::WHOLE));
    let request = with(&[("traceparent", PARENT), ("authorization", signed)]);
    assert_eq!(ask(&scene, request).await, 200);
    assert_eq!(told(&asked), [(Some(PARENT.to_owned()), None)]);
    let record = scene.records.only();
    assert!(record.trace.is_some(), "its span is there all the same");
}

#[tokio::test(start_paused = true)]
async fn a_trace_that_cannot_be_read_begins_anew() {
    let (provider, asked) = scripted([json(ANSWER)]);
    let scene = acting(provider, tracing(SampleRate::WHOLE));
    let request = with(&[("traceparent", "00-broken"), ("tracestate", "a=1")]);
    assert_eq!(ask(&scene, request).await, 200);
    let record = scene.records.only();
    let trace = record.trace.as_ref().expect("all are kept");
    assert_eq!(told(&asked), [(Some(trace.traceparent(1)), None)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_call_is_not_traced() {
    let (provider, asked) = scripted([json("{}")]);
    let scene = acting(provider, tracing(SampleRate::WHOLE));
    let request = Request::get("/v1/models")
        .header(header::HOST, "api.openai.com")
        .header("traceparent", PARENT)
        .body(Outgoing::Empty)
        .expect("valid request");
    assert_eq!(ask(&scene, request).await, 200);
    assert_eq!(told(&asked), [(Some(PARENT.to_owned()), None)]);
    assert_eq!(scene.records.only().trace, None);
}
