//! Modules that only compute: no clock, no I/O, no tasks. They are told the time and hand back
//! decisions, which is what makes them testable in microseconds.

use super::{Problem, source::Source};

const PURE: [&str; 5] = ["llm", "policy", "subject", "record", "watch"];

/// `std::io`'s traits are allowed: decoders of bodies in memory are made of them.
const BANNED: [&str; 12] = [
    "tokio::",
    "hyper::",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "Instant::now",
    "SystemTime::now",
];

/// Exceptions, each with its reason.
const EXCEPT: [(&str, &str); 1] = [
    // `Sink` is how a record is awaited; the channel is part of its signature.
    ("record", "tokio::"),
];

pub(super) fn check(source: &Source, problems: &mut Vec<Problem>) {
    let Some(module) = source.module() else { return };
    let top = module.split("::").next().unwrap_or_default();
    if !PURE.contains(&top) {
        return;
    }
    for (line, code) in source.lines() {
        for banned in BANNED {
            if code.contains(banned) && !EXCEPT.contains(&(top, banned)) {
                let message = format!("`{banned}` in `{top}`, which only computes");
                problems.push(Problem { path: source.path.clone(), line, message });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_io_in_pure_modules_only() {
        let count = |path: &str| {
            let text = "//! X.\nuse tokio::net;\n// std::fs in a comment\n".to_owned();
            let mut problems = Vec::new();
            check(&Source::new(path.to_owned(), text), &mut problems);
            problems.len()
        };
        assert_eq!(count("agent/src/policy/window.rs"), 1);
        assert_eq!(count("agent/src/upstream/pool.rs"), 0);
        assert_eq!(count("agent/src/record.rs"), 0);
    }
}
