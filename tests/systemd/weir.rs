//! The agent as its users see it: by its commands.

use anyhow::Context;
use serde_json::Value;

use crate::host;

/// Its unit.
pub(crate) const UNIT: &str = "weir.service";
/// Where everybody's trusted certificates are.
pub(crate) const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// `weir status --json`, as soon as there is a daemon that answers. It may do less than it was asked for
/// (10), as in namespaces it says it does.
pub(crate) async fn answers() -> anyhow::Result<Value> {
    let (status, _) = host::until("a daemon that answers", async || {
        let said = host::run(&["weir", "status", "--json"]).await?;
        let answered = matches!(said.code, Some(0 | 10));
        if answered { Ok(Some(serde_json::from_str(&said.out)?)) } else { Ok(None) }
    })
    .await?;
    Ok(status)
}

/// The mode in effect.
pub(crate) fn mode(status: &Value) -> &str {
    status["mode"]["effective"].as_str().unwrap_or_default()
}

/// The calls of a workload.
pub(crate) async fn calls(workload: &str) -> anyhow::Result<Vec<Value>> {
    let command = ["weir", "calls", "--json", "--last", "1000", "--workload", workload];
    let mut answer: Value = serde_json::from_str(&host::succeed(&command).await?)?;
    match answer["rows"].take() {
        Value::Array(rows) => Ok(rows),
        other => anyhow::bail!("no rows in the answer but {other}"),
    }
}

/// How many calls were counted, all in all.
pub(crate) async fn counted() -> anyhow::Result<u64> {
    let command = ["weir", "spend", "--json", "--by", "workload"];
    let answer: Value = serde_json::from_str(&host::succeed(&command).await?)?;
    let rows = answer["rows"].as_array().context("rows")?;
    Ok(rows.iter().filter_map(|row| row["calls"].as_u64()).sum())
}

/// Whether everybody trusts a CA of the agent's.
pub(crate) async fn is_trusted() -> anyhow::Result<bool> {
    // The name stands in the certificate as it is; the bundle is base64.
    let words =
        format!("openssl crl2pkcs7 -nocrl -certfile {BUNDLE} | openssl pkcs7 -print_certs -noout");
    Ok(host::succeed(&["sh", "-c", &words]).await?.contains("Weir local CA"))
}
