//! Texts with variables, written as Go's `text/template` writes them: `{{.AgentName}}`.
//!
//! Variables are all there is: no conditions, no functions.

use std::borrow::Cow;
use std::sync::Arc;

use crate::llm::usage::NanoUsd;
use crate::record::{Finding, Notice};

use super::settings::word;

/// What an alert's text may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    AgentName,
    SpentPercent,
    Spent,
    Limit,
    Remaining,
    Timestamp,
    Policy,
    Topic,
    Message,
    CallId,
    Task,
    Measured,
    Target,
}

const VARIABLES: [(&str, Variable); 13] = [
    ("AgentName", Variable::AgentName),
    ("SpentPercent", Variable::SpentPercent),
    ("Spent", Variable::Spent),
    ("Limit", Variable::Limit),
    ("Remaining", Variable::Remaining),
    ("Timestamp", Variable::Timestamp),
    ("Policy", Variable::Policy),
    ("Topic", Variable::Topic),
    ("Message", Variable::Message),
    ("CallId", Variable::CallId),
    ("Task", Variable::Task),
    ("Measured", Variable::Measured),
    ("Target", Variable::Target),
];

/// What the prompt of a webhook that others call may name.
const INBOUND: [&str; 4] = ["Payload", "Headers", "Timestamp", "WebhookName"];

/// Names an alert's text may use.
pub fn names() -> impl Iterator<Item = &'static str> {
    VARIABLES.iter().map(|(name, _)| *name)
}

/// Names a webhook's prompt may use: its own, and an alert's, since alerts may call it.
pub fn prompt_names() -> impl Iterator<Item = &'static str> {
    INBOUND.into_iter().chain(names().filter(|name| !INBOUND.contains(name)))
}

/// A text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A variable that is none.
    #[error("there is no variable `{{{{.{0}}}}}`")]
    Unknown(String),
    /// Something in braces that is no variable.
    #[error("`{{{{{0}}}}}` is not a variable: only variables are known, as `{{{{.AgentName}}}}`")]
    NotAVariable(String),
    /// Braces that are not closed.
    #[error("`{{{{` without its `}}}}`")]
    Open,
}

/// A text and its variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Arc<str>),
    Variable(Variable),
}

impl Template {
    /// Reads an alert's text.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let part = |piece| match piece {
            Piece::Text(text) => Ok(Part::Text(Arc::from(text))),
            Piece::Name(name) => VARIABLES
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, variable)| Part::Variable(*variable))
                .ok_or_else(|| Fault::Unknown(name.to_owned())),
        };
        pieces(text)?.into_iter().map(part).collect::<Result<_, _>>().map(Self)
    }

    /// The text about a notice. What a notice does not have is `-`.
    pub fn render(&self, notice: &Notice) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(own) => text.push_str(own),
                Part::Variable(variable) => text.push_str(&value(*variable, notice)),
            }
        }
        text
    }
}

/// The notice's own sentence.
impl Default for Template {
    fn default() -> Self {
        Self(vec![Part::Variable(Variable::Message)])
    }
}

/// A webhook's prompt: a text over [`prompt_names`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt(Vec<Word>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Text(Arc<str>),
    Name(Arc<str>),
}

impl Prompt {
    /// Reads a prompt.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let word = |piece| match piece {
            Piece::Text(text) => Ok(Word::Text(Arc::from(text))),
            Piece::Name(name) if prompt_names().any(|known| known == name) => {
                Ok(Word::Name(Arc::from(name)))
            }
            Piece::Name(name) => Err(Fault::Unknown(name.to_owned())),
        };
        pieces(text)?.into_iter().map(word).collect::<Result<_, _>>().map(Self)
    }

    /// The text with every name replaced by its value, or by `-` where it has none. Values are
    /// data: nothing in them is replaced.
    pub fn render<'v>(&self, value: impl Fn(&str) -> Option<Cow<'v, str>>) -> String {
        let mut text = String::new();
        for word in &self.0 {
            match word {
                Word::Text(own) => text.push_str(own),
                Word::Name(name) => text.push_str(value(name).as_deref().unwrap_or("-")),
            }
        }
        text
    }
}

enum Piece<'a> {
    Text(&'a str),
    Name(&'a str),
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Fault> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("{{") {
        let (inside, after) = from.split_once("}}").ok_or(Fault::Open)?;
        let name = inside.trim().strip_prefix('.').filter(|name| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        });
        let name = name.ok_or_else(|| Fault::NotAVariable(inside.to_owned()))?;
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        pieces.push(Piece::Name(name));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

fn value(variable: Variable, notice: &Notice) -> String {
    let money = |amount: Option<NanoUsd>| amount.map(dollars);
    let found = |part: fn(&Finding) -> String| notice.finding.as_ref().map(part);
    let value = match variable {
        Variable::AgentName => Some(notice.subject.to_string()),
        Variable::SpentPercent => percent(notice),
        Variable::Spent => money(notice.spent),
        Variable::Limit => money(notice.limit),
        Variable::Remaining => money(remaining(notice)),
        Variable::Timestamp => Some(timestamp(notice.at)),
        Variable::Policy => Some(notice.policy.to_string()),
        Variable::Topic => Some(word(notice.topic).to_owned()),
        Variable::Message => Some(notice.message.clone()),
        Variable::CallId => notice.call_id.map(|id| id.to_string()),
        Variable::Task => {
            let finding = notice.finding.as_ref();
            finding.and_then(|finding| finding.task.as_ref()).map(ToString::to_string)
        }
        Variable::Measured => found(|finding| finding.measured.clone()),
        Variable::Target => found(|finding| finding.target.clone()),
    };
    value.unwrap_or_else(|| "-".to_owned())
}

/// RFC 3339, UTC.
pub(crate) fn timestamp(at: std::time::SystemTime) -> String {
    let at = jiff::Timestamp::try_from(at).unwrap_or_default();
    at.round(jiff::Unit::Second).unwrap_or(at).to_string()
}

/// What is left of a budget; never less than nothing.
pub(super) fn remaining(notice: &Notice) -> Option<NanoUsd> {
    let (spent, limit) = (notice.spent?, notice.limit?);
    Some(NanoUsd(limit.0.saturating_sub(spent.0).max(0)))
}

/// Share of a budget that is spent, in percent with at most one decimal, rounded down: only what
/// is spent is 100.
pub(super) fn percent(notice: &Notice) -> Option<String> {
    let (spent, limit) = (notice.spent?, notice.limit?);
    if limit.0 <= 0 {
        return None;
    }
    let tenths = i128::from(spent.0.max(0)) * 1000 / i128::from(limit.0);
    Some(match tenths % 10 {
        0 => (tenths / 10).to_string(),
        rest => format!("{}.{rest}", tenths / 10),
    })
}

/// Dollars without a sign, in cents; below one dollar with up to four decimals.
fn dollars(amount: NanoUsd) -> String {
    let unit = if amount.0.unsigned_abs() < NanoUsd::DOLLAR.0.unsigned_abs() {
        100_000
    } else {
        10_000_000
    };
    NanoUsd(amount.0.saturating_add(amount.0.signum() * unit / 2) / unit * unit).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::sample;

    #[test]
    fn every_variable_has_its_value() {
        let text = "{{.AgentName}}|{{ .SpentPercent }}|{{.Spent}}|{{.Limit}}|{{.Remaining}}|\
                    {{.Timestamp}}|{{.Policy}}|{{.Topic}}|{{.Message}}|{{.CallId}}";
        let rendered = Template::parse(text).unwrap().render(&sample::budget());
        assert_eq!(
            rendered,
            "code-reviewer|82.5|8.25|10.00|1.75|2026-11-22T09:00:00Z|budgets.code-reviewer|\
             budget_threshold|82% of the daily budget is spent|-"
        );
    }

    #[test]
    fn what_was_measured_has_variables_too() {
        let text = Template::parse("{{.Task}} {{.Measured}} of {{.Target}}").unwrap();
        assert_eq!(text.render(&sample::budget()), "- - of -");
        assert_eq!(text.render(&sample::errors()), "chat 15.0% of 5%");
    }

    #[test]
    fn faults() {
        let unknown = Fault::Unknown("AgentNam".to_owned());
        assert_eq!(Template::parse("x {{.AgentNam}}"), Err(unknown));
        for text in ["{{", "a {{.Spent}", "{{ .Spent"] {
            assert_eq!(Template::parse(text), Err(Fault::Open), "{text}");
        }
        for text in ["{{Spent}}", "{{}}", "{{if .Spent}}", "{{.A.B}}", "{{.Spent | json}}"] {
            let found = Template::parse(text);
            assert!(matches!(found, Err(Fault::NotAVariable(_))), "{text}: {found:?}");
        }
        assert!(Prompt::parse("{{.Payload}} {{.AgentName}}").is_ok());
        assert_eq!(Prompt::parse("{{.Paylod}}"), Err(Fault::Unknown("Paylod".to_owned())));
        assert!(Template::parse("{{.Payload}}").is_err());
    }

    #[test]
    fn values_are_not_templates() {
        let mut notice = sample::budget();
        notice.message = "{{.Limit}}".to_owned();
        assert_eq!(Template::default().render(&notice), "{{.Limit}}");
    }

    #[test]
    fn values_of_prompts_are_not_templates_either() {
        let prompt = Prompt::parse("a {{.Payload}} b {{ .Message }}{{.Spent}}").unwrap();
        let value = |name: &str| match name {
            "Payload" => Some(Cow::Borrowed("{{.Message}} {{.Nothing}} {{")),
            "Message" => Some(Cow::Borrowed("{{.Payload}}")),
            _ => None,
        };
        assert_eq!(prompt.render(value), "a {{.Message}} {{.Nothing}} {{ b {{.Payload}}-");
    }

    #[test]
    fn money_reads_like_money() {
        for (nanos, text) in [
            (0, "0.00"),
            (8_249_999_999, "8.25"),
            (14_520_000, "0.0145"),
            (999_999_999, "1.00"),
            (-2_000_000_000, "-2.00"),
            (i64::MAX, "9223372036.85"),
            (i64::MIN + 1, "-9223372036.85"),
        ] {
            assert_eq!(dollars(NanoUsd(nanos)), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            if let Ok(template) = Template::parse(&text) {
                template.render(&sample::budget());
            }
        }
    }
}
