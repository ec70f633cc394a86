//! What the daemon tells: by its commands, its socket and its metrics.

use std::error::Error;
use std::iter::Sum;
use std::str::FromStr;

use anyhow::Context;
use serde_json::Value;

use crate::stage::Stage;
use crate::wait::until;

impl Stage {
    /// The rows of `weir spend --by …`.
    pub async fn spend(&self, by: &str) -> anyhow::Result<Vec<Value>> {
        rows(self.daemon()?.read(&["spend", "--by", by]).await?)
    }

    /// The rows of `/api/calls`, in the order they began.
    pub async fn calls(&self) -> anyhow::Result<Vec<Value>> {
        let (status, body) = self.daemon()?.admin("/api/calls?last=1000").await?;
        anyhow::ensure!(status == 200, "{status}: {body}");
        let mut calls = rows(serde_json::from_str(&body)?)?;
        // Call ids sort by time.
        calls.sort_by_key(|call| call["call_id"].as_str().map(str::to_owned));
        Ok(calls)
    }

    /// The same, once `count` of them have ended.
    pub async fn settled(&self, count: usize) -> anyhow::Result<Vec<Value>> {
        until("calls that have ended", async || {
            let calls = self.calls().await?;
            let ended = calls.iter().filter(|call| !call["outcome"].is_null()).count();
            Ok((ended >= count).then_some(calls))
        })
        .await
    }

    /// What `weir ps` says about a process, once it knows of a connection that has ended.
    pub async fn process(&self, pid: u32) -> anyhow::Result<Value> {
        until("a connection of the process", async || {
            let rows = rows(self.daemon()?.read(&["ps"]).await?)?;
            let known = |row: &Value| {
                row["pid"] == pid && row["connections"].as_array().is_some_and(|it| !it.is_empty())
            };
            Ok(rows.into_iter().find(known))
        })
        .await
    }

    /// The command line of a `weir` command that talks to the daemon.
    pub fn weir(&self, arguments: &[&str]) -> anyhow::Result<Vec<String>> {
        let command = self.daemon()?.weir(arguments);
        let command = command.as_std();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        Ok(words.map(|word| word.to_string_lossy().into_owned()).collect())
    }

    /// What a `weir` command that has to succeed prints.
    pub async fn told(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.daemon()?.weir(arguments).output().await?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "weir {arguments:?}: {complaint}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The sum of a metric's samples whose labels contain `labels`; a `u64` where it counts
    /// whole things.
    pub async fn metric<T>(&self, name: &str, labels: &str) -> anyhow::Result<T>
    where
        T: FromStr<Err: Error + Send + Sync + 'static> + Sum,
    {
        let samples = self.metrics().await?;
        let named = samples
            .lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(labels));
        let values = named.map(|rest| {
            let value = rest.rsplit(' ').next().context("a sample has a value")?;
            Ok(value.parse::<T>()?)
        });
        values.sum()
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        Ok(self.daemon()?.admin("/metrics").await?.1)
    }
}

fn rows(mut answer: Value) -> anyhow::Result<Vec<Value>> {
    match answer["rows"].take() {
        Value::Array(rows) => Ok(rows),
        other => anyhow::bail!("no rows in the answer but {other}"),
    }
}
