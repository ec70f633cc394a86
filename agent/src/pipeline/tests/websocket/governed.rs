//! Policies on a socket: told in its own words, before anybody else hears.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_refused_call_is_told_on_the_socket_which_stays_open() {
    let limit = rule("rate_limits", per_minute(1), OnBreach::Deny);
    let mut talk = talk_under(RESPONSES, Records::default(), vec![limit]).await;
    talk.asks(&create("gpt-4o-mini")).await;
    talk.asked().await;
    talk.hears_all(&[begun("r1"), completed("r1")]).await;
    talk.asks(&in_lane("a", create("gpt-4o-mini"))).await;
    let refusal = talk.hears().await;
    assert_eq!((&refusal["type"], &refusal["status"]), (&json!("error"), &json!(429)));
    assert_eq!(refusal["error"]["code"], "rate_limit_exceeded");
    assert_eq!(refusal["error"]["policy"], "rate_limits.curl");
    assert_eq!(refusal["stream_id"], "a");
    let wait = refusal["headers"]["retry-after"].as_str().unwrap().parse::<u64>().unwrap();
    assert!((1..=61).contains(&wait), "{refusal}");
    tokio::time::advance(Duration::from_secs(wait)).await;
    talk.asks(&create("gpt-4o-mini")).await;
    assert_eq!(talk.asked().await, create("gpt-4o-mini"), "the refused one never came");
    talk.hears_all(&[begun("r2"), completed("r2")]).await;
    let (calls, socket) = talk.over().await;
    let outcomes: Vec<_> = calls.iter().map(|call| call.outcome).collect();
    assert_eq!(outcomes, [Outcome::Ok, Outcome::Refused, Outcome::Ok]);
    assert_eq!((calls[1].status, calls[1].attempts.len()), (Some(429), 0));
    assert_eq!(socket.outcome, Outcome::Ok);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_mid_response_is_charged_by_estimate() {
    for (leaves, outcome) in [("client", Outcome::ClientAbort), ("provider", Outcome::UpstreamCut)]
    {
        let budget_rule = rule("budgets", daily_cents(10), OnBreach::Deny);
        let mut talk = talk_under(RESPONSES, Records::default(), vec![budget_rule]).await;
        let mut ask = create("dime");
        ask["max_output_tokens"] = json!(1000);
        talk.asks(&ask).await;
        talk.asked().await;
        talk.hears_all(&[begun("r1"), delta(&"x".repeat(400))]).await;
        assert_eq!(budget(&talk.scene), (0, 10 * CENTS), "reserved while it runs");
        let Talk { client, provider, scene, .. } = talk;
        if leaves == "client" {
            drop(client);
            let (calls, _socket) = until_settled(&scene).await;
            drop(provider);
            assert_eq!(calls.len(), 1);
        } else {
            drop(provider);
            until_settled(&scene).await;
            drop(client);
        }
        let (calls, _socket) = until_settled(&scene).await;
        let call = &calls[0];
        assert_eq!((call.outcome, call.usage_source), (outcome, UsageSource::Estimated));
        // 400 bytes are 100 tokens, of which a thousand cost ten cents.
        assert_eq!(call.cost.map(|cost| cost.0), Some(CENTS), "{leaves}");
        assert_eq!(budget(&scene), (CENTS, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_over_the_limit_is_forwarded_unread_and_metered_by_its_answer() {
    let mut talk = talk(RESPONSES).await;
    let mut long = create("gpt-4o-mini");
    long["input"] = json!("x".repeat(2000));
    talk.asks(&long).await;
    assert_eq!(talk.asked().await, long);
    talk.hears_all(&[begun("r1"), completed("r1")]).await;
    let (calls, _socket) = talk.over().await;
    assert_eq!(calls.len(), 1);
    assert!(calls[0].flags.contains(&Flag::BodyUnread), "{:?}", calls[0].flags);
    assert_eq!(calls[0].cost.map(|cost| cost.0), Some(ANSWER_COST));
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_over_the_limit_goes_nowhere() {
    let limit = rule("rate_limits", per_minute(1), OnBreach::Deny);
    let mut talk = talk_under(RESPONSES, Records::default(), vec![limit]).await;
    let mut long = create("gpt-4o-mini");
    long["input"] = json!("x".repeat(2000));
    talk.asks(&long).await;
    assert_eq!(talk.asked().await, long);
    talk.asks(&long).await;
    assert_eq!(talk.hears().await["error"]["code"], "rate_limit_exceeded");
    let after = json!({"type": "response.steer"});
    talk.asks(&after).await;
    assert_eq!(talk.asked().await, after, "the next message is whole");
}

#[tokio::test(start_paused = true)]
async fn what_the_budget_buys_is_written_into_the_message() {
    let mut capped = rule("budgets", daily_cents(5), OnBreach::Deny);
    if let Says::Limit(limit) = &mut capped.says {
        limit.cut_streams = true;
    }
    let mut talk = talk_under(RESPONSES, Records::default(), vec![capped]).await;
    let mut ask = create("dime");
    ask["input"] = json!("é");
    talk.asks(&in_lane("a", ask.clone())).await;
    let sent = talk.asked().await;
    assert_eq!(sent["max_output_tokens"], json!(500), "five cents: {sent}");
    ask["max_output_tokens"] = json!(500);
    assert_eq!(sent, in_lane("a", ask));
}
