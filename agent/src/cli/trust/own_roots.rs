//! Clients on this host that bring roots of their own, which no trust store reaches.

use std::process::{Command, Stdio};

use crate::cli::variables::Environment;

/// Python's libraries that read certifi's roots unless a variable says otherwise.
const PYTHON: &str = "import importlib.util as u
print(*[m for m in ('requests', 'httpx', 'openai', 'anthropic', 'boto3') if u.find_spec(m)])";

/// Names of them: `node`, `python3 (requests, httpx)`. Empty where a variable of the user's already
/// leads them elsewhere.
pub(in crate::cli) fn found(env: &Environment) -> Vec<String> {
    let path = env.get("PATH").map(String::as_str).unwrap_or_default();
    let is_there = |program: &str| {
        std::env::split_paths(path).any(|directory| directory.join(program).is_file())
    };
    let mut found = Vec::new();
    if is_there("node") && !env.contains_key("NODE_EXTRA_CA_CERTS") {
        found.push("node".to_owned());
    }
    if is_there("deno") && !env.contains_key("DENO_TLS_CA_STORE") {
        found.push("deno".to_owned());
    }
    if is_there("python3") && !env.contains_key("SSL_CERT_FILE") {
        let asked = Command::new("timeout")
            .args(["5", "python3", "-c", PYTHON])
            .env("PATH", path)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        let said = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let libraries = said.unwrap_or_default();
        let libraries: Vec<&str> = libraries.split_whitespace().collect();
        if !libraries.is_empty() {
            found.push(format!("python3 ({})", libraries.join(", ")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn they_are_found_by_the_path_unless_a_variable_leads_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, script: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, script).unwrap();
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        };
        let path = format!("{}:/usr/bin:/bin", dir.path().display());
        let mut env = Environment::from([("PATH".to_owned(), path)]);
        put("deno", "#!/bin/sh\n");
        put("node", "#!/bin/sh\n");
        put("python3", "#!/bin/sh\necho requests httpx\n");
        let all = found(&env);
        for name in ["node", "deno", "python3 (requests, httpx)"] {
            assert!(all.iter().any(|it| it == name), "{all:?}");
        }
        for name in ["NODE_EXTRA_CA_CERTS", "DENO_TLS_CA_STORE", "SSL_CERT_FILE"] {
            env.insert(name.to_owned(), "/mine".to_owned());
        }
        assert_eq!(found(&env), [] as [String; 0]);
    }
}
