//! `/openapi.json` says what is: every answer of a running agent is as it is described.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use harness::{Stage, on_stage};
use jsonschema::Validator;
use serde_json::{Value, json};

use super::{Session, one_each, over_http, over_socket};

/// The document, by which answers are judged.
struct Described(Value);

impl Described {
    async fn read() -> anyhow::Result<Self> {
        let mut document = over_http("GET", "/openapi.json", &[]).await?.json()?;
        ensure!(document["openapi"] == "3.1.0", "{document}");
        // A key that is not described is as wrong as one that is missing.
        let shapes = document["components"]["schemas"].as_object_mut().context("shapes")?;
        shapes.values_mut().for_each(close);
        Ok(Self(document))
    }

    fn validator(&self, schema: &Value) -> anyhow::Result<Validator> {
        let mut root = schema.clone();
        root["components"] = self.0["components"].clone();
        jsonschema::draft202012::new(&root).map_err(|wrong| anyhow::anyhow!("{wrong}"))
    }

    /// Whether a value is an answer of this operation.
    fn judge(&self, method: &str, path: &str, answer: &Value) -> anyhow::Result<()> {
        let responses = &self.0["paths"][path][method]["responses"];
        let schema = &responses["200"]["content"]["application/json"]["schema"];
        ensure!(schema.is_object(), "{method} {path} is not described");
        self.fits(schema, answer).with_context(|| format!("{method} {path}: {answer}"))
    }

    fn fits(&self, schema: &Value, value: &Value) -> anyhow::Result<()> {
        let validator = self.validator(schema)?;
        let wrong: Vec<String> = validator
            .iter_errors(value)
            .map(|wrong| format!("{}: {wrong}", wrong.instance_path()))
            .collect();
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }
}

/// Closes every object whose keys are all described.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(close);
            let open = map.contains_key("additionalProperties") || map.contains_key("allOf");
            if map.get("properties").is_some_and(|it| it.get("type").is_none_or(Value::is_object))
                && !open
            {
                map.insert("additionalProperties".to_owned(), json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// A daemon with something to tell of everything: calls, policies, budgets, breakers.
async fn start(stage: &mut Stage) -> anyhow::Result<String> {
    let config = one_each(stage).await.map(|_| stage.config())?;
    stage.stop().await?;
    let config = config
        .with(&["mode"], json!("enforce"))
        .with(&["rate_limits", "curl"], json!({"requests_per_day": 100}))
        .with(&["budgets", "curl"], json!({"daily_limit_usd": 5, "alert_at_percent": 80}));
    stage.start(&config).await?;
    let words = harness::curl(&[]);
    stage.succeed(harness::Route::Redirect, &words).await?;
    stage.told(&["breaker", "trip", "openai"]).await?;
    stage.told(&["bypass", "add", "--exe", "/usr/bin/nothing"]).await?;
    let calls = stage.settled(3).await?;
    Ok(calls[2]["call_id"].as_str().context("an id")?.to_owned())
}

#[test]
fn answers_are_as_they_are_described() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let call = start(stage).await?;
        let described = Described::read().await?;
        let session = Session::begin(stage).await?;
        let examples: BTreeMap<&str, String> = [
            ("/api/calls/{id}", format!("/api/calls/{call}")),
            ("/api/analytics/agents/{id}", "/api/analytics/agents/exe%3Acurl".to_owned()),
            ("/api/policies/{name}", "/api/policies/budgets.curl".to_owned()),
            ("/api/breakers/{name}", "/api/breakers/openai".to_owned()),
            (
                "/api/policies/test",
                "/api/policies/test?workload=exe:curl&model=gpt-4o-mini".to_owned(),
            ),
            ("/api/spend", "/api/spend?by=workload,model&bucket=day".to_owned()),
            ("/api/calls", "/api/calls?limit=2".to_owned()),
        ]
        .into();
        let paths = described.0["paths"].as_object().context("paths")?.clone();
        let mut judged = 0;
        for (path, methods) in &paths {
            let content = &methods["get"]["responses"]["200"]["content"];
            if !content["application/json"].is_object() {
                continue;
            }
            let example = examples.get(&**path).map_or(&**path, String::as_str);
            ensure!(!example.contains('{'), "{path} needs an example");
            // Over both ways: what is said of oneself differs.
            described.judge("get", path, &session.get(example).await?)?;
            let over_socket = over_socket(stage, "GET", example, "").await?;
            described.judge("get", path, &over_socket.json().context(path.clone())?)?;
            judged += 1;
        }
        ensure!(judged > 25, "{judged}");

        for (path, example, body) in [
            ("/api/mode", "/api/mode", r#"{"mode": "enforce"}"#),
            ("/api/capture", "/api/capture", r#"{"on": true}"#),
            ("/api/config/reload", "/api/config/reload", ""),
            ("/api/log", "/api/log", r#"{"filter": null}"#),
            ("/api/pause", "/api/pause", r#"{"seconds": 60}"#),
            (
                "/api/bypass",
                "/api/bypass",
                r#"{"kind": "exe", "name": "/usr/bin/nothing", "on": false}"#,
            ),
            ("/api/policies/{name}", "/api/policies/budgets.curl", r#"{"enforcement": "shadow"}"#),
            ("/api/breakers/{name}", "/api/breakers/openai", r#"{"state": "closed"}"#),
        ] {
            let changed = session.put(example, body).await?;
            described.judge("put", path, &changed.json().context(example)?)?;
            if let Ok(body) = serde_json::from_str::<Value>(body) {
                let content = &paths[path]["put"]["requestBody"]["content"];
                described.fits(&content["application/json"]["schema"], &body).context(example)?;
            }
        }
        let made = over_socket(stage, "POST", "/api/sessions", "").await?.json()?;
        described.judge("post", "/api/sessions", &made)?;
        let problem = &described.0["components"]["responses"]["problem"]["content"];
        let schema = &problem["application/problem+json"]["schema"];
        let missing = over_http("GET", "/api/calls/none", &[session.header()]).await?;
        described.fits(schema, &missing.problem(404)?)?;
        Ok(())
    })
}

#[test]
fn an_answer_that_is_not_as_described_is_noticed() {
    let shape = json!({
        "type": "object",
        "properties": {"calls": {"type": "integer"}, "type": {"type": "string"}},
        "required": ["calls"],
    });
    let mut schemas = json!({"Spend": shape});
    close(&mut schemas["Spend"]);
    let described = Described(json!({"components": {"schemas": schemas}}));
    let schema = json!({"$ref": "#/components/schemas/Spend"});
    described.fits(&schema, &json!({"calls": 1})).unwrap();
    for wrong in [json!({}), json!({"calls": "1"}), json!({"calls": 1, "surprise": true})] {
        assert!(described.fits(&schema, &wrong).is_err(), "{wrong}");
    }
}
