//! Command lines without their secrets, and without what people wrote.
//!
//! Command lines are kept in the ledger, so they must hold neither keys nor prompts. Whatever
//! looks like a key goes, an argument that is a text (a prompt, a shell command) is left out
//! altogether. Redacting too much costs little, so doubt goes that way.

use crate::subject::printable;

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";

/// What stands in the place of an argument with blanks in it.
const TEXT: &str = "[text]";

/// Longest command line kept, in characters.
const LIMIT: usize = 512;

/// How keys of known services begin.
const PREFIXES: [&str; 38] = [
    "sk-",
    "sk_",
    "pk_",
    "rk_",
    "ak_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxs-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "eyJ",
    "hf_",
    "gsk_",
    "xai-",
    "r8_",
    "pplx-",
    "npm_",
    "pypi-",
    "dop_v1_",
    "SG.",
    "nvapi-",
    "fw_",
    "tgp_v1_",
    "lsv2_",
    "AGE-SECRET-KEY-",
    "sbp_",
    "whsec_",
];

/// Fewest characters after a prefix that make it a key.
const AFTER_PREFIX: usize = 8;

/// Joins arguments into one line that is safe to keep and to show.
pub(super) fn command(arguments: &[String]) -> String {
    let mut line = String::new();
    let mut secret_follows = Follows::Nothing;
    for (index, argument) in arguments.iter().enumerate() {
        if line.len() > 4 * LIMIT {
            break;
        }
        if index > 0 {
            line.push(' ');
        }
        let secret = match secret_follows {
            Follows::Nothing => false,
            Follows::Secret => !argument.starts_with('-'),
            Follows::Login => argument.contains(':'),
        };
        if secret {
            line.push_str(REDACTED);
            secret_follows = Follows::Nothing;
            continue;
        }
        secret_follows = Follows::after(argument);
        if index > 0 && is_text(argument) {
            line.push_str(TEXT);
        } else {
            line.push_str(&clean(argument));
        }
    }
    printable(&line, LIMIT)
}

/// What an option says about the argument after it.
#[derive(Clone, Copy)]
enum Follows {
    Nothing,
    Secret,
    /// `user:password`, as curl's `-u` takes it.
    Login,
}

impl Follows {
    fn after(argument: &str) -> Self {
        if ["-u", "-U", "--user", "--proxy-user"].contains(&argument) {
            return Self::Login;
        }
        let option = argument.starts_with('-') && !argument.contains(['=', ':']);
        if option && is_secret_name(argument) { Self::Secret } else { Self::Nothing }
    }
}

/// Blanks make a text, but not in a header (`-H 'Accept: text/html'`), whose name is one word.
fn is_text(argument: &str) -> bool {
    if argument.contains('\n') {
        return true;
    }
    let mut words = argument.split_whitespace();
    let first = words.next().unwrap_or_default();
    let rest = words.count();
    rest > 0 && !(first.ends_with(':') && (rest <= 2 || is_secret_name(first)))
}

fn clean(argument: &str) -> String {
    if let Some(login) = argument.strip_prefix("-u")
        && login.contains(':')
    {
        return format!("-u{REDACTED}");
    }
    let mut kept = String::with_capacity(argument.len());
    let mut rest = argument;
    while let Some(first) = rest.chars().next() {
        let run = rest.find(|c: char| !is_key_char(c)).unwrap_or(rest.len());
        if run == 0 {
            let after = &rest[first.len_utf8()..];
            kept.push(first);
            rest = match first {
                ':' if after.starts_with("//") => without_login(after, &mut kept),
                '=' | ':' if is_secret_name(last_name(&kept[..kept.len() - 1])) => {
                    without_value(after, first, &mut kept)
                }
                _ => after,
            };
            continue;
        }
        let (word, after) = rest.split_at(run);
        let previous = kept.trim_end().rsplit(|c: char| !c.is_alphanumeric()).next();
        let announced = previous.is_some_and(|p| p.eq_ignore_ascii_case("bearer"))
            && kept.ends_with(char::is_whitespace);
        if announced || is_key(word) {
            kept.push_str(REDACTED);
        } else {
            kept.push_str(word);
        }
        rest = after;
    }
    kept
}

/// Characters that occur within keys; `/` and `=` do too, but end words more often.
fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '~')
}

/// The identifier at the end of `text`, past an opening quote: `api_key` in `x&"api_key"`.
fn last_name(text: &str) -> &str {
    let text = text.trim_end_matches(['"', '\'', ' ']);
    let start = text.rfind(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')));
    text.get(start.map_or(0, |at| at + 1)..).unwrap_or(text)
}

/// Replaces the value after `name=` or `name:`, up to what can only follow it. The value of a
/// header may hold blanks.
fn without_value<'a>(after: &'a str, sign: char, kept: &mut String) -> &'a str {
    let lead = after.find(|c: char| !matches!(c, ' ' | '"' | '\'')).unwrap_or(after.len());
    let (lead, value) = after.split_at(lead);
    kept.push_str(lead);
    let ends = |c: char| match sign {
        ':' => matches!(c, '"' | '\'' | ',' | '}'),
        _ => c.is_whitespace() || matches!(c, '"' | '\'' | '&' | ';' | ','),
    };
    let end = value.find(ends).unwrap_or(value.len());
    if end > 0 {
        kept.push_str(REDACTED);
    }
    &value[end..]
}

/// Drops `user:password@` from the address after `scheme:`.
fn without_login<'a>(after: &'a str, kept: &mut String) -> &'a str {
    kept.push_str("//");
    let address = &after[2..];
    let end = address.find(['/', '?', '#', ' ', '"', '\'']).unwrap_or(address.len());
    match address[..end].rfind('@') {
        Some(at) => {
            kept.push_str(REDACTED);
            &address[at..]
        }
        None => address,
    }
}

/// Whether what carries this name is a secret: `--api-key`, `OPENAI_API_KEY`, `Authorization:`.
fn is_secret_name(name: &str) -> bool {
    let name: String =
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    ["apikey", "secret", "passw", "passphrase", "credential", "authorization", "cookie"]
        .iter()
        .any(|word| name.contains(word))
        || ["key", "token", "auth", "pwd", "signature", "bearer"]
            .iter()
            .any(|word| name.ends_with(word))
}

fn is_key(word: &str) -> bool {
    // A prefix counts at the start of a word and after a joint: `--header=x-sk-…` holds a key too.
    let known = PREFIXES.iter().any(|prefix| {
        word.match_indices(prefix).any(|(at, _)| {
            let joint = at == 0 || matches!(word.as_bytes()[at - 1], b'-' | b'_' | b'.');
            joint && word.len() - at - prefix.len() >= AFTER_PREFIX
        })
    });
    known || word.split('.').any(is_random)
}

/// Whether a word was drawn rather than written: long, without joints for long enough, changing
/// between digits, capitals and small letters all the time. Dates and versions in the names of
/// models have joints, UUIDs too.
fn is_random(word: &str) -> bool {
    let longest = word.split(['-', '_', '+', '~']).map(str::len).max().unwrap_or(0);
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
    if word.len() < 20 || longest < 16 || digits < 2 || letters < 2 {
        return false;
    }
    let class = |b: u8| (b.is_ascii_digit(), b.is_ascii_uppercase(), b.is_ascii_lowercase());
    let changes = word.as_bytes().windows(2).filter(|two| class(two[0]) != class(two[1])).count();
    changes * 4 >= word.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(arguments: &[&str]) -> String {
        command(&arguments.iter().map(|&a| a.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn ordinary_command_lines_stay_readable() {
        for arguments in [
            &["python3", "-u", "/srv/agents/agent.py", "--model", "claude-sonnet-4-5-20250929"][..],
            &[
                "curl",
                "-sS",
                "https://api.openai.com/v1/models?limit=20",
                "-H",
                "Accept: text/html",
            ],
            &["node", "--max-old-space-size=4096", "dist/index.js", "--port=8080", "a:b"],
            &["claude", "--resume", "1f2e3d4c-5b6a-7988-8796-a5b4c3d2e1f0", "--max-tokens", "100"],
            &[
                "java",
                "-Xmx4g",
                "-cp",
                "/opt/lib/commons-lang3-3.12.0.jar",
                "com.acme.VeryLongMainClass",
            ],
            &["gunicorn", "--bind=127.0.0.1:8000", "app.wsgi:application", "-w4"],
            &["ssh", "-p", "22", "deploy@host.example"],
        ] {
            assert_eq!(line(arguments), arguments.join(" "));
        }
    }

    #[test]
    fn keys_are_recognised_wherever_they_stand() {
        for (given, expected) in [
            (&["x", "--api-key", "hunter2"][..], "x --api-key [redacted]"),
            (&["x", "--api-key=hunter2", "y"], "x --api-key=[redacted] y"),
            (&["x", "OPENAI_API_KEY=abc"], "x OPENAI_API_KEY=[redacted]"),
            (&["x", "--token", "--verbose"], "x --token --verbose"),
            (&["x", "key=abc&n=1"], "x key=[redacted]&n=1"),
            (&["x", "https://h/p?key=abc&n=1"], "x https://h/p?key=[redacted]&n=1"),
            (&["x", "sk-ant-api03-AbC-d_f"], "x [redacted]"),
            (&["x", "sk-proj-1234567890"], "x [redacted]"),
            (&["x", "a=sk-1234567890,b"], "x a=[redacted],b"),
            (&["x", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"], "x [redacted]"),
            (&["x", "AKIAIOSFODNN7EXAMPLE"], "x [redacted]"),
            (&["x", "AIzaSyD-1234567890abcdef"], "x [redacted]"),
            (&["x", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"], "x [redacted]"),
            (&["x", "-H", "Authorization: Bearer abc"], "x -H Authorization: [redacted]"),
            (&["x", "-H", "x-api-key:abc"], "x -H x-api-key:[redacted]"),
            (&["x", "-H", "Cookie: a=b; c=d e"], "x -H Cookie: [redacted]"),
            (&["x", "-H", "X-Custom: Bearer abc"], "x -H X-Custom: Bearer [redacted]"),
            (&["x", "http://u:p@h:80/p"], "x http://[redacted]@h:80/p"),
            (&["x", "--proxy=socks5://u:p@w@h"], "x --proxy=socks5://[redacted]@h"),
            (&["curl", "-u", "me:pw", "-uyou:pw"], "curl -u [redacted] -u[redacted]"),
            (&["x", r#"{"password":"p","n":1}"#], r#"x {"password":"[redacted]","n":1}"#),
            (&["x", "9f86d081884c7d659a2feaa0c55ad015"], "x [redacted]"),
            (&["x", "--id=Xk29sLq0PzR7vBn4Tm1c"], "x --id=[redacted]"),
        ] {
            assert_eq!(line(given), expected);
        }
    }

    #[test]
    fn texts_are_left_out() {
        assert_eq!(line(&["claude", "-p", "fix the bug"]), "claude -p [text]");
        assert_eq!(line(&["bash", "-c", "curl -H 'x: sk-abc'"]), "bash -c [text]");
        assert_eq!(line(&["llm", "Note: this is about my illness"]), "llm [text]");
        assert_eq!(line(&["llm", "a\nb"]), "llm [text]");
        assert_eq!(line(&["nginx: worker process"]), "nginx: worker process");
    }

    #[test]
    fn lines_are_bounded_and_harmless() {
        let long = line(&vec!["argument"; 10_000]);
        assert_eq!(long.chars().count(), LIMIT);
        assert_eq!(line(&["a\x1b]0;x\x07"]), "a\\u{1b}]0;x\\u{7}");
        assert_eq!(line(&[]), "");
    }

    proptest! {
        #[test]
        fn a_secret_after_its_name_never_shows(
            name in "(--api-key|--token|OPENAI_API_KEY|--client-secret|key)",
            sign in "(=|:|: )",
            before in "[ -~]{0,20}",
            secret in "Q[A-Z]{3,30}Q",
        ) {
            let argument = format!("{name}{sign}{secret}");
            let line = line(&["x", &before, &argument]);
            prop_assert!(!line.contains(&secret), "{line}");
        }

        #[test]
        fn any_bytes_are_survived(arguments in proptest::collection::vec(".*", 0..6)) {
            let line = command(&arguments);
            prop_assert!(line.chars().count() <= LIMIT);
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}
