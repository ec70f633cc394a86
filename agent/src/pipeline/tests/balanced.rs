//! Calls to a provider that has several endpoints.

use std::num::NonZeroU32;
use std::time::Duration;

use hyper::StatusCode;

use super::elsewhere::setup as elsewhere;
use super::*;
use crate::llm::providers::Base;
use crate::policy::reliability::balance::Member;
use crate::policy::view::BreakerState;

fn base(host: &str, port: u16, prefix: &str) -> Base {
    Base { tls: false, host: host.into(), port, prefix: prefix.into() }
}

fn at(name: &str, credential: Credential) -> (Endpoint, u32) {
    let base = base(&format!("{name}.test"), 8080, "/api");
    (Endpoint { name: name.into(), base, credential }, 1)
}

fn own(key: &str) -> Credential {
    Credential::Own(Secret::new(key))
}

fn with(mut setup: Setup, provider: &str, endpoints: Vec<(Endpoint, u32)>) -> Setup {
    let members = endpoints.iter().map(|(endpoint, weight)| Member {
        name: Arc::clone(&endpoint.name),
        weight: NonZeroU32::new(*weight).unwrap(),
    });
    setup.settings.endpoints = vec![(Arc::from(provider), members.collect())];
    let endpoints = endpoints.into_iter().map(|(endpoint, _)| endpoint).collect();
    setup.endpoints = Endpoints::new([(Arc::from(provider), endpoints)]);
    setup
}

/// A provider whose endpoints at these hosts are down.
fn partly(
    down: &'static [&'static str],
) -> (Provider<impl Fn(Request<Bytes>) -> Answer + Clone + Send + Sync + 'static>, Asked) {
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    let provider = Provider(move |request: Request<Bytes>| {
        let host = request.headers()[header::HOST].to_str().unwrap().to_owned();
        seen.lock().push(request);
        if down.iter().any(|down| host.starts_with(down)) {
            return failed(503, "x");
        }
        json(ANSWER)
    });
    (provider, asked)
}

fn hosts(asked: &Asked) -> Vec<String> {
    let asked = asked.lock();
    asked.iter().map(|it| it.headers()[header::HOST].to_str().unwrap().to_owned()).collect()
}

fn said(scene: &Scene, action: &str) -> usize {
    let settled = scene.records.settled.lock();
    let all = settled.iter().flat_map(|record| &record.decisions);
    all.filter(|it| &*it.rule == "endpoints.openai" && &*it.action == action).count()
}

#[tokio::test(start_paused = true)]
async fn calls_are_shared_by_weight_and_each_endpoint_gets_its_own_key() {
    let (provider, asked) = partly(&[]);
    let mut endpoints = vec![at("a", own("sk-a")), at("b", own("sk-b"))];
    endpoints[0].1 = 3;
    let scene = acting(provider, with(Setup::default(), "openai", endpoints));
    for _ in 0..8 {
        let mut request = call(ASK);
        for name in ["cookie", "x-api-key", "openai-organization"] {
            request.headers_mut().insert(name, "sk-client".parse().unwrap());
        }
        request.headers_mut().insert("idempotency-key", "once".parse().unwrap());
        let response = handle(Arc::clone(&scene.context), request).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), ANSWER);
    }
    let hosts = hosts(&asked);
    let of_a = hosts.iter().filter(|host| *host == "a.test:8080").count();
    assert_eq!((of_a, hosts.len()), (6, 8));
    for request in asked.lock().iter() {
        let key = if request.headers()[header::HOST] == "a.test:8080" { "sk-a" } else { "sk-b" };
        assert_eq!(request.headers()[header::AUTHORIZATION], format!("Bearer {key}"));
        assert_eq!(request.uri().path(), "/api/v1/chat/completions");
        assert_eq!(request.headers()["idempotency-key"], "once");
        assert_eq!(request.body(), ASK);
        for value in request.headers().values() {
            let value = value.to_str().unwrap();
            assert!(!value.contains("sk-client") && !value.contains("sk-test"), "{value}");
        }
    }
    assert_eq!(said(&scene, "use"), 8);
    let settled = scene.records.settled.lock();
    assert!(settled.iter().all(|it| it.cost.is_some_and(|cost| cost.0 == ANSWER_COST)));
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_is_passed_by_left_out_and_asked_again_later() {
    let (provider, asked) = partly(&["a."]);
    let endpoints = vec![at("a", own("sk-a")), at("b", own("sk-b"))];
    let scene = acting(provider, with(Setup::default(), "openai", endpoints));
    let open = || {
        let rules = scene.context.rules.load();
        let views = rules.policies.reliability.lock().breakers(scene.context.clock.now());
        let open = views.into_iter().filter(|view| view.state == BreakerState::Open);
        open.map(|view| view.name.to_string()).collect::<Vec<_>>()
    };
    let mut calls = 0;
    while open().is_empty() {
        let before = asked.lock().len();
        assert_eq!(scene.ask(ASK).await.0.status, StatusCode::OK);
        // Whatever the first endpoint said, the next try was at the other.
        let tries = hosts(&asked)[before..].to_vec();
        assert!(tries.len() == 1 || tries == ["a.test:8080", "b.test:8080"], "{tries:?}");
        calls += 1;
        assert!(calls < 20, "it fails every time");
    }
    assert_eq!(open(), ["openai@a"]);
    assert_eq!(said(&scene, "eject"), 1);
    let before = asked.lock().len();
    for _ in 0..4 {
        scene.ask(ASK).await;
    }
    assert!(hosts(&asked)[before..].iter().all(|host| host == "b.test:8080"));
    tokio::time::advance(Duration::from_secs(11)).await;
    let before = asked.lock().len();
    for _ in 0..2 {
        assert_eq!(scene.ask(ASK).await.0.status, StatusCode::OK);
    }
    assert!(hosts(&asked)[before..].contains(&"a.test:8080".to_owned()), "it is asked again");
    assert_eq!(open(), ["openai@a"], "and left out at once, for longer");
}

/// The client's credential goes where it goes without us, and where the configuration says so.
#[tokio::test(start_paused = true)]
async fn the_clients_credential_goes_nowhere_else() {
    let home = base("api.openai.com", 80, "");
    let home = Endpoint { name: "home".into(), base: home, credential: Credential::Client };
    let endpoints =
        vec![(home, 1), at("trusted", Credential::Client), at("open", Credential::Nothing)];
    let (provider, asked) = partly(&[]);
    let scene = acting(provider, with(Setup::default(), "openai", endpoints));
    for _ in 0..3 {
        scene.ask(ASK).await;
    }
    for request in asked.lock().iter() {
        let key = request.headers().get(header::AUTHORIZATION);
        let key = key.map(|value| value.to_str().unwrap());
        match request.headers()[header::HOST].to_str().unwrap() {
            "api.openai.com" => {
                assert_eq!(key, Some("Bearer sk-test"));
                assert_eq!(request.uri().path(), "/v1/chat/completions");
            }
            "trusted.test:8080" => assert_eq!(key, Some("Bearer sk-test")),
            "open.test:8080" => assert_eq!(key, None),
            other => panic!("{other}"),
        }
    }
    let mut hosts = hosts(&asked);
    hosts.sort_unstable();
    hosts.dedup();
    assert_eq!(hosts.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_taken_to_a_provider_finds_its_endpoints() {
    let mut setup = elsewhere(&[("other", "large")]);
    setup.credentials = Credentials::default();
    // Of a call of another provider's client, this one would get the wrong credential.
    let endpoints = vec![at("c", Credential::Client), at("d", own("sk-d"))];
    let (provider, asked) = partly(&["api.openai.com"]);
    let scene = acting(provider, with(setup, "other", endpoints));
    for _ in 0..2 {
        let (parts, _body) = scene.ask(ASK).await;
        assert_eq!(parts.status, StatusCode::OK);
        assert_eq!(parts.headers["x-weir-provider-served"], "other");
    }
    assert_eq!(hosts(&asked), ["api.openai.com", "d.test:8080"].repeat(2));
    let asked = asked.lock();
    assert_eq!(asked[1].headers()[header::AUTHORIZATION], "Bearer sk-d");
    assert_eq!(asked[1].uri().path(), "/api/v1/chat/completions");
}

#[tokio::test(start_paused = true)]
async fn where_policies_do_not_act_calls_go_where_they_were_going() {
    let (provider, asked) = partly(&[]);
    let setup = with(Setup::default(), "openai", vec![at("a", own("sk-a"))]);
    let scene = acting(provider, Setup { acting: false, ..setup });
    scene.ask(ASK).await;
    assert_eq!(hosts(&asked), ["api.openai.com"]);
    assert_eq!(said(&scene, "use"), 0);
}
