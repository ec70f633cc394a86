//! Who may ask: no page of another site, nobody without a session, and each what is theirs.

use anyhow::{Context, ensure};
use harness::on_stage;
use serde_json::{Value, json};

use super::{NOBODY, Session, one_each, over_http, over_socket, rows};

/// Every route that can be read without naming anything.
async fn readable() -> anyhow::Result<Vec<String>> {
    let described = over_http("GET", "/openapi.json", &[]).await?.json()?;
    let paths = described["paths"].as_object().context("paths")?;
    let plain = paths.iter().filter(|(path, it)| it["get"].is_object() && !path.contains('{'));
    let found: Vec<String> = plain.map(|(path, _)| path.clone()).collect();
    ensure!(found.len() > 20, "{found:?}");
    Ok(found)
}

#[test]
fn a_page_of_another_site_reaches_nothing() -> anyhow::Result<()> {
    on_stage(async |stage| {
        one_each(stage).await?;
        let session = Session::begin(stage).await?;
        let token = session.header();
        let foreign: [&[(&str, &str)]; 9] = [
            // A name that resolves to this machine now: DNS rebinding.
            &[("host", "evil.test:4181")],
            &[("host", "evil.test:4181"), ("origin", "http://evil.test:4181")],
            &[("host", "127.0.0.1.evil.test:4181")],
            &[("host", "0.0.0.0:4181")],
            // A page that asks for its user: cross-site requests.
            &[("origin", "https://evil.test")],
            &[("origin", "null")],
            &[("origin", "http://localhost:8080")],
            &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],
            &[
                ("sec-fetch-site", "same-site"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "iframe"),
            ],
        ];
        for path in readable().await? {
            for headers in foreign {
                let with_token = [headers, &[token]].concat();
                for sent in [headers, &with_token] {
                    let reply = over_http("GET", &path, sent).await?;
                    reply.problem(403).with_context(|| format!("{path} {sent:?}"))?;
                }
            }
        }
        // What a browser asks before a page of another site may send a token.
        let asked = [
            ("origin", "https://evil.test"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "authorization"),
        ];
        let reply = over_http("OPTIONS", "/api/mode", &asked).await?;
        reply.problem(403)?;
        ensure!(!reply.headers.contains_key("access-control-allow-origin"));
        let reply = over_http("PUT", "/api/mode", &[("origin", "null"), token]).await?;
        reply.problem(403)?;
        // The dashboard's own page, and somebody who follows a link to it.
        for headers in [
            &[("origin", "http://localhost:4181"), ("sec-fetch-site", "same-origin"), token][..],
            &[
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
                token,
            ],
        ] {
            let reply = over_http("GET", "/api/calls", headers).await?;
            assert_eq!(rows(&reply.json()?)?.len(), 2, "{headers:?}");
            for (name, value) in [
                ("x-content-type-options", "nosniff"),
                ("cross-origin-resource-policy", "same-origin"),
                ("cache-control", "no-store"),
            ] {
                assert_eq!(reply.headers[name], value, "{name}");
            }
        }
        Ok(())
    })
}

#[test]
fn without_a_session_nobody_is_known() -> anyhow::Result<()> {
    on_stage(async |stage| {
        one_each(stage).await?;
        let open = [
            "/api/mode",
            "/api/prices",
            "/api/session",
            "/api/status",
            "/healthz",
            "/metrics",
            "/openapi.json",
            "/readyz",
        ];
        for path in readable().await? {
            let reply = over_http("GET", &path, &[]).await?;
            if open.contains(&&*path) {
                ensure!(reply.status == 200, "{path}: {}", reply.status);
                ensure!(!reply.body.contains("exe:curl") || path == "/metrics", "{path}");
            } else {
                let problem = reply.problem(401).with_context(|| path.clone())?;
                ensure!(problem["fix"].as_str().is_some_and(|fix| fix.contains("weir dashboard")));
                assert_eq!(reply.headers["www-authenticate"], "Bearer", "{path}");
            }
        }
        let who = over_http("GET", "/api/session", &[]).await?.json()?;
        let nobody =
            json!({"schema_version": 1, "role": "nobody", "user": null, "expires_at": null});
        assert_eq!(who, nobody);
        for (method, path) in [
            ("PUT", "/api/mode"),
            ("PUT", "/api/upgrade"),
            ("PUT", "/api/config/reload"),
            ("DELETE", "/api/session"),
        ] {
            over_http(method, path, &[]).await?.problem(401).with_context(|| path.to_owned())?;
        }
        over_http("POST", "/api/sessions", &[]).await?.problem(403)?;
        over_http("GET", "/api/no-such", &[]).await?.problem(404)?;
        // No text: not UTF-8.
        over_http("GET", "/assets/%FF", &[]).await?.problem(400)?;
        over_http("POST", "/api/spend", &[]).await?.problem(405)?;
        Ok(())
    })
}

#[test]
fn each_sees_over_http_what_the_socket_shows_them() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let pid = one_each(stage).await?;
        let (admin, user) = (Session::begin(stage).await?, Session::of_nobody(stage).await?);
        let role = async |session: &Session| {
            let who = session.get("/api/session").await?;
            ensure!(who["expires_at"].is_string(), "{who}");
            anyhow::Ok((who["role"].clone(), who["user"].clone()))
        };
        assert_eq!(role(&admin).await?, (json!("administrator"), json!("0")));
        assert_eq!(role(&user).await?, (json!("user"), json!(NOBODY.to_string())));

        for path in ["/api/calls", "/api/processes"] {
            let seen = user.get(path).await?;
            let seen: Vec<_> = rows(&seen)?.iter().map(|row| (&row["uid"], &row["pid"])).collect();
            assert_eq!(seen, [(&json!(NOBODY), &json!(pid))], "{path}");
            assert_eq!(rows(&admin.get(path).await?)?.len(), 2, "{path}");
        }
        let count = |summary: &Value| summary["kpis"]["total_requests"]["value"].clone();
        assert_eq!(count(&user.get("/api/analytics/summary").await?), 1);
        assert_eq!(count(&admin.get("/api/analytics/summary").await?), 2);
        for (path, pointer) in [("/api/errors", "/calls"), ("/api/spend", "/total/calls")] {
            let (own, all) = (user.get(path).await?, admin.get(path).await?);
            let seen = [&own, &all].map(|answer| answer.pointer(pointer).cloned());
            assert_eq!(seen, [Some(json!(1)), Some(json!(2))], "{path}");
        }
        let report = user.get("/api/analytics/agents/exe:curl").await?;
        assert_eq!(
            (&report["total"]["calls"], &report["latency"]["samples"]),
            (&json!(1), &json!(1))
        );
        let exported = user.get("/api/analytics/export").await?;
        let exported = exported.as_array().context("an array")?;
        assert!(exported.len() == 1 && exported[0]["uid"] == NOBODY, "{exported:?}");
        let events = user.get("/api/analytics/events").await?;
        let events = rows(&events)?;
        ensure!(!events.is_empty() && events.iter().all(|event| event["uid"] == NOBODY));
        // Root's call is told to nobody.
        let calls = admin.get("/api/calls").await?;
        let roots = rows(&calls)?.iter().find(|call| call["uid"] == 0).context("root's")?;
        let path = format!("/api/calls/{}", roots["call_id"].as_str().context("an id")?);
        over_http("GET", &path, &[user.header()]).await?.problem(404)?;
        for path in ["/api/calls/%FF", "/api/policies/%FF", "/api/breakers/%FF"] {
            let reply = over_http("GET", path, &[user.header()]).await?;
            reply.problem(400).context(path)?;
        }

        // Users change nothing; administrators do.
        let mode = r#"{"mode": "observe"}"#;
        let denied = user.put("/api/mode", mode).await?.problem(403)?;
        assert_eq!(denied["fix"], "try again with sudo");
        assert_eq!(admin.put("/api/mode", mode).await?.json()?["wanted"], "observe");
        // A session makes no other.
        for session in [&admin, &user] {
            over_http("POST", "/api/sessions", &[session.header()]).await?.problem(403)?;
        }
        Ok(())
    })
}

#[test]
fn a_session_ends_when_it_is_ended_and_with_the_daemon() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let (first, second) = (Session::begin(stage).await?, Session::begin(stage).await?);
        let status = async |session: &Session| {
            anyhow::Ok(over_http("GET", "/api/calls", &[session.header()]).await?.status.as_u16())
        };
        assert_eq!((status(&first).await?, status(&second).await?), (200, 200));
        let ended = over_http("DELETE", "/api/session", &[first.header()]).await?;
        assert_eq!((ended.status.as_u16(), ended.body), (204, String::new()));
        assert_eq!((status(&first).await?, status(&second).await?), (401, 200));
        over_socket(stage, "DELETE", "/api/session", "").await?.problem(409)?;

        stage.stop().await?;
        stage.start(&config).await?;
        assert_eq!(status(&second).await?, 401, "it ended with the daemon");
        Ok(())
    })
}

#[test]
fn wrong_tokens_are_counted_bounded_and_keep_nobody_out() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let session = Session::begin(stage).await?;
        let mut seen = Vec::new();
        for n in 0..50 {
            let wrong = format!("Bearer {n}");
            let reply = over_http("GET", "/api/calls", &[("authorization", &wrong)]).await?;
            seen.push(reply.status.as_u16());
        }
        // A minute may begin anew among them, on a machine that is that slow.
        ensure!(seen.iter().all(|status| matches!(status, 401 | 429)), "{seen:?}");
        ensure!(seen[..30].iter().all(|status| *status == 401), "{seen:?}");
        let refused = over_http("GET", "/api/calls", &[("authorization", "Bearer x")]).await?;
        if refused.status == 429 {
            assert_eq!(refused.headers["retry-after"], "60");
            refused.problem(429)?;
        }
        ensure!(seen.contains(&429), "{seen:?}");
        // Whoever has a session, or needs none, is answered all the while.
        session.get("/api/calls").await?;
        assert_eq!(over_http("GET", "/healthz", &[]).await?.body, "ok\n");
        let labels = "fault=\"wrong_token\",listener=\"admin\"";
        let counted: u64 = stage.metric("weir_client_faults_total", labels).await?;
        assert_eq!(counted, 51);
        Ok(())
    })
}

#[test]
fn where_there_is_no_listener_there_is_no_session() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config().with(&["listen", "admin"], json!("off"));
        stage.start(&config).await?;
        let refused = stage.daemon()?.weir(&["dashboard"]).output().await?;
        let complaint = String::from_utf8(refused.stderr)?;
        assert_eq!(refused.status.code(), Some(1), "{complaint}");
        assert!(complaint.contains("→ set listen.admin"), "{complaint}");
        Ok(())
    })
}
