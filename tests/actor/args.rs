//! `name=value` parameters.

use std::collections::HashMap;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow};

/// Parameters by name.
pub(crate) struct Args(HashMap<String, String>);

impl Args {
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self> {
        let pairs = words.map(|word| {
            let (name, value) = word.split_once('=').context("name=value")?;
            Ok((name.to_owned(), value.to_owned()))
        });
        pairs.collect::<Result<_>>().map(Self)
    }

    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The comma-separated values of `name`.
    pub(crate) fn list<T>(&self, name: &str) -> Result<Vec<T>>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        let values = self.find(name).unwrap_or_default();
        let values = values.split(',').filter(|value| !value.is_empty());
        values.map(|value| value.parse().map_err(|e| anyhow!("{name}={value}: {e}"))).collect()
    }

    pub(crate) fn one<T>(&self, name: &str) -> Result<Option<T>>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        Ok(self.list(name)?.pop())
    }
}
