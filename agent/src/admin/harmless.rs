//! Text that came from processes and providers, made harmless for terminals and spreadsheets.

use std::borrow::Cow;

/// Escapes what a terminal may obey instead of showing it.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_harmful(c) {
            cleaned.extend(c.escape_unicode());
        } else {
            cleaned.push(c);
        }
    }
    Cow::Owned(cleaned)
}

/// Control characters (C0, DEL, C1), and the invisible ones that change what stands beside them.
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Text that no spreadsheet takes for a formula, and no terminal for a command.
pub fn inert(text: &str) -> Cow<'_, str> {
    let text = clean(text);
    if text.trim_start().starts_with(['=', '+', '-', '@', '|', '%']) {
        return Cow::Owned(format!("'{text}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_formulas() {
        assert_eq!(inert("=HYPERLINK(\"x\")"), "'=HYPERLINK(\"x\")");
        assert_eq!(inert(" @SUM(1)"), "' @SUM(1)");
        assert_eq!(inert("\t=1"), "\\u{9}=1");
        assert_eq!(inert("exe:curl"), "exe:curl");
    }
}
