//! The agent comes and goes while clients connect all the time.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use harness::{Output, Route, on_stage, until};

const TIMES: usize = 20;
const CLIENTS: usize = 2;

/// Calls on new connections until there is a file of that name, each tried twice at most; for each
/// the ids of the call, if the agent gave one, and how many tries it took: `lost` where both failed.
const LOAD: &str = "
import http.client, os, ssl, sys
context = ssl.create_default_context()
body = '{\"model\":\"gpt-4o-mini\",\"messages\":[]}'
def attempt():
    connection = http.client.HTTPSConnection('api.openai.com', context=context, timeout=20)
    try:
        connection.request('POST', '/v1/chat/completions', body, {'authorization': 'Bearer sk-t'})
        answer = connection.getresponse()
        answer.read()
        return answer.getheader('x-weir-call-id', '-') if answer.status == 200 else None
    except (OSError, http.client.HTTPException) as error:
        print(type(error).__name__, error, file=sys.stderr, flush=True)
        return None
    finally:
        connection.close()
for _ in range(50000):
    if os.path.exists(sys.argv[1]):
        break
    for tries in (1, 2):
        call = attempt()
        if call:
            break
    print(call or 'lost', tries, flush=True)
else:
    sys.exit('nobody told it to end')
";

#[test]
fn however_often_the_agent_is_restarted_no_call_fails_twice() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let enough = stage.scratch().join("enough");
        let word = enough.to_str().context("a path of ours")?;
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(stage.command(Route::Redirect, &["python3", "-c", LOAD, word])?.spawn()?);
        }
        for time in 0..TIMES {
            let before = stage.provider().stats().billed;
            until("calls", async || {
                Ok((stage.provider().stats().billed > before + 4).then_some(()))
            })
            .await?;
            if time % 4 == 3 {
                // The polite way costs nobody anything, and is no slower to be back.
                assert_eq!(stage.stop().await?, Some(0));
            } else {
                stage.crash().await;
            }
            stage.start(&config).await?;
        }
        std::fs::write(&enough, "")?;

        let (mut all, mut again, mut direct) = (0, 0, 0);
        let mut served = BTreeSet::new();
        for client in clients {
            let output = Output::of(client).await?;
            ensure!(output.code == Some(0), "{}", output.stderr);
            for line in output.stdout.lines() {
                let (call, tries) = line.split_once(' ').context("two words")?;
                assert_ne!(call, "lost", "{}", output.stderr);
                all += 1;
                again += usize::from(tries == "2");
                direct += usize::from(call == "-");
                if call != "-" {
                    served.insert(call.to_owned());
                }
            }
        }
        eprintln!("{all} calls: {again} needed a second try, {direct} went direct");
        assert!(again <= CLIENTS * TIMES, "{again} of {all} calls needed a second try");
        assert!(direct > 0, "some came while there was no agent");
        assert!(served.len() > TIMES, "{} were metered", served.len());
        // Every one that was answered is known, however its agent ended.
        let (_, body) = stage.daemon()?.admin("/api/calls?last=1000").await?;
        let rows: serde_json::Value = serde_json::from_str(&body)?;
        let rows = rows["rows"].as_array().context("rows")?;
        let known: BTreeSet<&str> = rows.iter().filter_map(|row| row["call_id"].as_str()).collect();
        if rows.len() < 1000 {
            let unknown: Vec<_> = served.iter().filter(|id| !known.contains(id.as_str())).collect();
            assert!(unknown.is_empty(), "delivered and not in the ledger: {unknown:?}");
        }
        Ok(())
    })
}
