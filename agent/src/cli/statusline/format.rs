//! `--format`: text with fields in braces. A field that does not exist is an error at once, not a
//! blank in someone's prompt.

use std::str::FromStr;

/// A figure of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Today,
    Calls,
    Errors,
    Unpriced,
    Tokens,
    In,
    Out,
    Workloads,
    Workload,
    Coverage,
    Budget,
    BudgetName,
    Mode,
    State,
    Warnings,
    Breakers,
    Escalations,
}

impl Field {
    /// All of them, with their names.
    pub(super) const ALL: [(&'static str, Self); 17] = [
        ("today", Self::Today),
        ("calls", Self::Calls),
        ("errors", Self::Errors),
        ("unpriced", Self::Unpriced),
        ("tokens", Self::Tokens),
        ("in", Self::In),
        ("out", Self::Out),
        ("workloads", Self::Workloads),
        ("workload", Self::Workload),
        ("coverage", Self::Coverage),
        ("budget", Self::Budget),
        ("budget_name", Self::BudgetName),
        ("mode", Self::Mode),
        ("state", Self::State),
        ("warnings", Self::Warnings),
        ("breakers", Self::Breakers),
        ("escalations", Self::Escalations),
    ];

    /// Whether it comes from `/api/spend`.
    pub(super) fn is_of_spend(self) -> bool {
        !self.is_of_budgets() && !self.is_of_status() && self != Self::Workload
    }

    /// Whether it comes from `/api/budgets`.
    pub(super) fn is_of_budgets(self) -> bool {
        matches!(self, Self::Budget | Self::BudgetName)
    }

    /// Whether it comes from `/api/status`.
    pub(super) fn is_of_status(self) -> bool {
        matches!(
            self,
            Self::Mode | Self::State | Self::Warnings | Self::Breakers | Self::Escalations
        )
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

/// A line to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Format(Vec<Part>);

impl Format {
    /// The fields in it.
    pub(super) fn fields(&self) -> impl Iterator<Item = Field> {
        self.0.iter().filter_map(|part| match part {
            Part::Field(field) => Some(*field),
            Part::Text(_) => None,
        })
    }

    /// The line, with what `value` says of each field.
    pub(super) fn filled(&self, value: impl Fn(Field) -> String) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(field) => value(*field),
        };
        self.0.iter().map(part).collect()
    }
}

/// The text is no format.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAFormat {
    #[error("there is no field {{{0}}}; there are {list}", list = names())]
    Unknown(String),
    #[error("`{{` without `}}`: write {{{{ for a brace of the text")]
    Open,
    #[error("`}}` without `{{`: write }}}} for a brace of the text")]
    Closed,
}

fn names() -> String {
    Field::ALL.map(|(name, _)| name).join(", ")
}

impl FromStr for Format {
    type Err = NotAFormat;

    fn from_str(text: &str) -> Result<Self, NotAFormat> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else if let Some(after) = from.strip_prefix('{') {
                let (name, after) = after.split_once('}').ok_or(NotAFormat::Open)?;
                let known = Field::ALL.into_iter().find(|(known, _)| *known == name);
                let (_, field) = known.ok_or_else(|| NotAFormat::Unknown(name.to_owned()))?;
                parts.push(Part::Text(std::mem::take(&mut plain)));
                parts.push(Part::Field(field));
                rest = after;
            } else {
                return Err(NotAFormat::Closed);
            }
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        Ok(Self(parts))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(text: &str) -> Result<String, NotAFormat> {
        let name = |field| Field::ALL.iter().find(|(_, known)| *known == field).unwrap().0;
        Ok(text.parse::<Format>()?.filled(|field| name(field).to_uppercase()))
    }

    #[test]
    fn fields_are_filled_in_and_braces_stay() {
        assert_eq!(filled("{today} of {budget_name}!").unwrap(), "TODAY of BUDGET_NAME!");
        assert_eq!(filled("{{{calls}}} {{}}").unwrap(), "{CALLS} {}");
        assert_eq!(filled("").unwrap(), "");
        assert_eq!(filled("no field").unwrap(), "no field");
    }

    #[test]
    fn what_is_no_field_is_told_with_those_there_are() {
        let wrong = filled("{today} {cost}").unwrap_err().to_string();
        assert!(wrong.starts_with("there is no field {cost}; there are today, calls,"), "{wrong}");
        assert!(wrong.ends_with("escalations"), "{wrong}");
        assert_eq!(filled("{today"), Err(NotAFormat::Open));
        assert_eq!(filled("today}"), Err(NotAFormat::Closed));
        assert_eq!(
            filled("}").unwrap_err().to_string(),
            "`}` without `{`: write }} for a brace of the text"
        );
    }

    proptest! {
        #[test]
        fn any_text_can_be_written(text in "[a-z{} ]{0,30}") {
            let escaped = text.replace('{', "{{").replace('}', "}}");
            prop_assert_eq!(filled(&escaped).unwrap(), text);
        }
    }
}
