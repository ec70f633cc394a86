//! `/api/policies`: which rules there are, how far each goes, and how it fared.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::breakers::BreakerRow;
use super::budgets::BudgetRow;
use super::usage::UsageRow;
use crate::policy::Enforcement;
use crate::policy::view::PolicyView;

/// How far a policy goes, as the API writes it: `off`, `shadow`, `enforce`, `canary:25`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct Reach(pub Enforcement);

impl std::fmt::Display for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Reach {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reach {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map(Self).map_err(de::Error::custom)
    }
}

/// All policies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Policies {
    /// Version of this shape.
    pub schema_version: u32,
    /// Whether policies act (`mode: enforce`); where they do not, all of them are shadows.
    pub acting: bool,
    /// The policies.
    pub rows: Vec<PolicyRow>,
}

/// One policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyRow {
    /// `rate_limits.batch-agent`, `budgets.code-reviewer`, `breaker.openai`, `retry`, ….
    pub name: String,
    /// How far it goes now.
    pub enforcement: Reach,
    /// How far the configuration says it goes.
    pub configured: Reach,
    /// Whether `weir policy` overrides the configuration.
    pub overridden: bool,
    /// Whom or what it is about.
    pub about: String,
    /// What it says.
    pub summary: String,
    /// Calls it let pass since the start; `null` to who may not see what others do.
    pub passed: Option<u64>,
    /// Calls it refused, delayed or changed since the start.
    pub acted: Option<u64>,
    /// Calls it would have acted on, were it not for its enforcement or the mode.
    pub shadowed: Option<u64>,
}

impl PolicyRow {
    /// The same without what tells of other people's calls.
    #[must_use]
    pub fn without_counts(self) -> Self {
        Self { passed: None, acted: None, shadowed: None, ..self }
    }
}

impl From<PolicyView> for PolicyRow {
    fn from(view: PolicyView) -> Self {
        Self {
            name: view.name.to_string(),
            enforcement: Reach(view.enforcement),
            configured: Reach(view.configured),
            overridden: view.enforcement != view.configured,
            about: view.about,
            summary: view.summary,
            passed: Some(view.passed),
            acted: Some(view.acted),
            shadowed: Some(view.shadowed),
        }
    }
}

/// One policy with how its subjects stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyDetail {
    /// Version of this shape.
    pub schema_version: u32,
    /// Whether policies act (`mode: enforce`).
    pub acting: bool,
    /// The policy.
    pub policy: PolicyRow,
    /// What is used of its limits.
    pub usage: Vec<UsageRow>,
    /// How its budget stands, for each it counts.
    pub budgets: Vec<BudgetRow>,
    /// The breakers it is about.
    pub breakers: Vec<BreakerRow>,
}

/// `PUT /api/policies/{name}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPolicy {
    /// How far it goes from now on; `null` gives it back to the configuration.
    #[serde(deserialize_with = "required")]
    pub enforcement: Option<Reach>,
}

/// An absent key is not the same as `null`: a body without it was not meant as a reset.
fn required<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Reach>, D::Error> {
    Option::deserialize(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_null_gives_a_policy_back_to_the_file() {
        let read = |text: &str| serde_json::from_str::<SetPolicy>(text);
        let canary = Some(Reach(Enforcement::Canary(5)));
        assert_eq!(read(r#"{"enforcement": "canary:5"}"#).unwrap().enforcement, canary);
        assert_eq!(read(r#"{"enforcement": null}"#).unwrap().enforcement, None);
        for (body, complaint) in [
            ("{}", "missing field `enforcement`"),
            (r#"{"enforcement": "on"}"#, "`on` is none of off, shadow, enforce, canary:PERCENT"),
            (r#"{"enforcement": "off", "why": 1}"#, "unknown field `why`"),
        ] {
            let told = read(body).unwrap_err().to_string();
            assert!(told.contains(complaint), "{told}");
        }
    }
}
