//! What every command works with: paths, time, the terminal.

use std::future::Future;
use std::io::{IsTerminal, StdoutLock, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

use super::text::is_harmful;
use crate::clock::{Clock, System};
use crate::config::Paths;

/// What every command works with.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// Where everything lives.
    pub paths: Paths,
    /// Whether to colour; never the only carrier of a meaning.
    pub colour: bool,
    /// Columns of the terminal; 80 where there is none.
    pub width: u16,
    /// When the command was given.
    pub now: Timestamp,
    /// The user's time zone.
    pub zone: TimeZone,
}

impl Ctx {
    /// Looks at the environment, once.
    pub fn new(paths: Paths) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the CLI reads the environment")]
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let stdout = std::io::stdout();
        let terminal = stdout.is_terminal();
        let dumb = variable("TERM").is_none_or(|term| term == "dumb");
        let colour = variable("NO_COLOR").is_none()
            && (variable("CLICOLOR_FORCE").is_some() || (terminal && !dumb));
        let asked = variable("COLUMNS").and_then(|columns| columns.to_str()?.parse().ok());
        let found = || rustix::termios::tcgetwinsize(&stdout).ok().map(|size| size.ws_col);
        let width = asked.or_else(found).filter(|width| *width >= 40).unwrap_or(80);
        let now = Timestamp::try_from(System.now().wall).unwrap_or_default();
        Self { paths, colour, width, now, zone: TimeZone::system() }
    }

    /// Standard output.
    pub fn out(&self) -> StdoutLock<'static> {
        std::io::stdout().lock()
    }

    /// Lines of text, which their maker has cleaned.
    pub fn lines(&self, lines: &[String]) -> std::io::Result<()> {
        let mut out = self.out();
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))
    }

    /// A value as JSON over several lines.
    pub fn json(&self, value: &impl Serialize) -> anyhow::Result<()> {
        write_json(&mut self.out(), value, PrettyFormatter::new())
    }

    /// A value as JSON on one line.
    pub fn json_line(&self, value: &impl Serialize) -> anyhow::Result<()> {
        write_json(&mut self.out(), value, CompactFormatter)
    }

    /// Text in bold, where colours are wanted.
    pub fn bold(&self, text: &str) -> String {
        if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Text that someone should look at, where colours are wanted.
    pub fn alarm(&self, text: &str) -> String {
        if self.colour { format!("\x1b[33m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Runs a future to its end on this thread.
    pub fn block_on<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
    }
}

fn write_json(
    out: &mut impl Write,
    value: &impl Serialize,
    formatter: impl Formatter,
) -> anyhow::Result<()> {
    value.serialize(&mut Serializer::with_formatter(&mut *out, Escaping(formatter)))?;
    writeln!(out)?;
    Ok(())
}

/// Escapes what JSON allows as it is but a terminal may obey (C1 controls, direction marks).
#[derive(Debug)]
struct Escaping<F>(F);

macro_rules! forward {
    ($($name:ident $(($arg:ident: $type:ty))?),* $(,)?) => {
        $(fn $name<W: ?Sized + Write>(&mut self, out: &mut W $(, $arg: $type)?)
            -> std::io::Result<()> {
            self.0.$name(out $(, $arg)?)
        })*
    };
}

impl<F: Formatter> Formatter for Escaping<F> {
    forward! {
        begin_array, end_array, begin_array_value(first: bool), end_array_value,
        begin_object, end_object, begin_object_key(first: bool), end_object_key,
        begin_object_value, end_object_value,
    }

    fn write_string_fragment<W>(&mut self, out: &mut W, fragment: &str) -> std::io::Result<()>
    where
        W: ?Sized + Write,
    {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_harmful) {
            let (before, from) = rest.split_at(at);
            out.write_all(before.as_bytes())?;
            let mut chars = from.chars();
            if let Some(c) = chars.next() {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
            rest = chars.as_str();
        }
        out.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_harmless_and_means_the_same() {
        let value = serde_json::json!({"a\u{9b}": ["x\u{202e}y\u{e0041}", 1, {"b": null}]});
        for pretty in [true, false] {
            let mut out = Vec::new();
            if pretty {
                write_json(&mut out, &value, PrettyFormatter::new()).unwrap();
            } else {
                write_json(&mut out, &value, CompactFormatter).unwrap();
            }
            let text = String::from_utf8(out).unwrap();
            assert!(!text.trim_end().replace('\n', "").contains(is_harmful), "{text}");
            assert!(text.contains(r"x\u202ey\udb40\udc41"), "{text}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        }
    }
}
