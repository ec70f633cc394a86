//! Why a process does not trust the local CA, and the one command that changes it. Pure: decided from
//! what was seen of the process.

use serde::{Deserialize, Serialize};

use crate::capture::identity::{Anatomy, Traits};

/// Longest command repeated in a fix, in characters.
const COMMAND: usize = 160;

/// A cause and its cure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// What it is: one line.
    pub what: String,
    /// A command that changes it, or what to do where none does.
    pub fix: String,
}

/// What was seen of a process.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Path of its executable; may be empty.
    pub exe: &'a str,
    /// Its command line, redacted; may be empty.
    pub command: &'a str,
    /// Its workload's name.
    pub workload: &'a str,
    /// What decides whom it trusts, where that was seen.
    pub traits: Option<&'a Traits>,
    /// What it is made of, where that was seen.
    pub anatomy: Option<&'a Anatomy>,
    /// Whether the host's store has the CA.
    pub installed: bool,
}

/// What a process runs on, as far as that decides where its roots come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runtime {
    Python,
    Node,
    Bun,
    Deno,
    Java,
    Browser,
    Go,
    Curl,
    CompiledIn,
    OpenSsl,
    GnuTls,
    Unknown,
}

/// Why a process that has rejected our certificate did so.
pub fn rejected(seen: &Seen<'_>) -> Cause {
    if is_contained(seen.workload) {
        return contained();
    }
    let what = match runtime(seen) {
        Runtime::Python => return python(seen),
        Runtime::Node => return node(seen),
        Runtime::Java => return java(seen),
        Runtime::Browser => {
            return Cause {
                what: "browser engine: has a root store of its own (NSS, policies)".to_owned(),
                fix: "weir trust install --stores system,nss --yes, then start it again".to_owned(),
            };
        }
        Runtime::CompiledIn => {
            return Cause {
                what: "roots are compiled in (as webpki-roots does): it cannot trust a host's CA"
                    .to_owned(),
                fix: "no setting helps: point its base URL at Weir's gateway \
                      (http://127.0.0.1:4180/openai/v1, …/anthropic)"
                    .to_owned(),
            };
        }
        Runtime::Deno => {
            return Cause {
                what: "Deno: has roots of its own, whatever the system store says, and reads DENO_CERT \
                       at its start"
                    .to_owned(),
                fix: again(seen),
            };
        }
        Runtime::Bun => "Bun reads the system store at its start",
        Runtime::Go => "Go reads the system's files once, at its start",
        Runtime::Curl => "curl reads the system store, or CURL_CA_BUNDLE and SSL_CERT_FILE",
        Runtime::OpenSsl => "OpenSSL reads the system store, or SSL_CERT_FILE",
        Runtime::GnuTls => "GnuTLS reads the system store only",
        Runtime::Unknown => "it does not accept the CA",
    };
    replaced(seen, &["SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE"])
        .or_else(|| missing(seen))
        .unwrap_or_else(|| Cause { what: what.to_owned(), fix: again(seen) })
}

/// Why a process is passed over that was started before the CA was installed.
pub fn older(seen: &Seen<'_>) -> Cause {
    Cause {
        what: "started before the CA was installed: it may have read its roots before".to_owned(),
        fix: match unit(seen.workload) {
            Some(unit) => format!("systemctl restart {unit}"),
            None => match command(seen) {
                Some(command) => format!("end it and start it again: {command}"),
                None => "end it and start it again".to_owned(),
            },
        },
    }
}

/// Why a process is passed over on a host that does not trust the CA.
pub fn not_installed(seen: &Seen<'_>) -> Cause {
    if is_contained(seen.workload) {
        return contained();
    }
    Cause {
        what: "the host does not trust the CA, and it was not started by `weir run`".to_owned(),
        fix: "weir trust install --yes".to_owned(),
    }
}

/// Whether a workload has a root directory of its own, and in it trusted roots of its own.
pub fn is_contained(workload: &str) -> bool {
    ["container:", "pod:", "user-container:"].iter().any(|kind| workload.starts_with(kind))
}

fn runtime(seen: &Seen<'_>) -> Runtime {
    let name = seen.exe.rsplit('/').next().unwrap_or(seen.exe);
    let starts = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
    let maps = |library| seen.anatomy.is_some_and(|anatomy| anatomy.maps(library));
    if starts(&["python", "pypy"]) {
        Runtime::Python
    } else if starts(&["node"]) || maps("libnode.so") {
        Runtime::Node
    } else if starts(&["java"]) || maps("libjvm.so") {
        Runtime::Java
    } else if starts(&["bun", "claude", "opencode"]) {
        Runtime::Bun
    } else if starts(&["deno"]) {
        Runtime::Deno
    } else if starts(&["chrom", "firefox", "msedge", "brave", "electron"]) || maps("libnss3.so") {
        Runtime::Browser
    } else if starts(&["curl"]) {
        Runtime::Curl
    } else if seen.anatomy.is_some_and(|anatomy| anatomy.go) {
        Runtime::Go
    } else if seen.anatomy.is_some_and(|anatomy| anatomy.roots) {
        Runtime::CompiledIn
    } else if maps("libpython") || maps("_ssl.") {
        Runtime::Python
    } else if maps("libssl") {
        Runtime::OpenSsl
    } else if maps("libgnutls.so") {
        Runtime::GnuTls
    } else {
        Runtime::Unknown
    }
}

fn python(seen: &Seen<'_>) -> Cause {
    let own: Vec<(String, &str)> = seen
        .anatomy
        .iter()
        .flat_map(|anatomy| &anatomy.packages)
        .filter_map(|(name, version)| Some((format!("{name} {version}"), reads(name, version)?)))
        .filter(|(_, variables)| {
            !variables.split(" or ").any(|name| variable(seen, name).is_some())
        })
        .collect();
    if let [(first, variables), others @ ..] = &own[..] {
        let mut names = first.clone();
        for (other, _) in others {
            names.extend([", ", other.as_str()]);
        }
        // Those that read another variable are named with it.
        let mut variables = vec![*variables];
        variables.extend(others.iter().map(|(_, variables)| *variables));
        variables.sort_unstable();
        variables.dedup();
        return Cause {
            what: format!(
                "python with {names}: a root store of its own (certifi), which {} replaces; not set",
                variables.join(" and ")
            ),
            fix: again(seen),
        };
    }
    let replaced = replaced(seen, &["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"]);
    if let Some(cause) = replaced.or_else(|| missing(seen)) {
        return cause;
    }
    let own_ssl = seen.anatomy.and_then(|anatomy| {
        anatomy.libraries.iter().find(|path| path.contains("libssl") && !is_systems(path))
    });
    let what = match own_ssl {
        Some(path) => format!("python with an OpenSSL of its own ({path}), which has other roots"),
        None => "python: certifi or an SSL context of its own, which reads SSL_CERT_FILE or \
                 REQUESTS_CA_BUNDLE at most"
            .to_owned(),
    };
    Cause { what, fix: again(seen) }
}

/// The variables by which a package that brings its own roots is told of others; `None` where it
/// uses the system's.
pub fn reads(package: &str, version: &str) -> Option<&'static str> {
    let major: u32 = version.split('.').next().and_then(|text| text.parse().ok()).unwrap_or(0);
    match package {
        "openai" if major < 3 => Some("SSL_CERT_FILE"),
        "anthropic" if major < 1 => Some("SSL_CERT_FILE"),
        "httpx" | "litellm" => Some("SSL_CERT_FILE"),
        "requests" => Some("REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE"),
        "boto3" | "botocore" => Some("AWS_CA_BUNDLE or REQUESTS_CA_BUNDLE"),
        "grpcio" => Some("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"),
        _ => None,
    }
}

fn node(seen: &Seen<'_>) -> Cause {
    let what = match (seen.traits, variable(seen, "NODE_EXTRA_CA_CERTS")) {
        (_, Some(file)) => {
            format!(
                "Node: NODE_EXTRA_CA_CERTS={file} lacks the CA, or the code passes its own `ca`"
            )
        }
        (Some(_), None) => {
            "Node without NODE_EXTRA_CA_CERTS: it has roots of its own, whatever the \
                            system store says"
                .to_owned()
        }
        (None, None) => {
            "Node: has roots of its own, and reads NODE_EXTRA_CA_CERTS at its start".to_owned()
        }
    };
    Cause { what, fix: again(seen) }
}

fn java(seen: &Seen<'_>) -> Cause {
    const OPTION: &str = "-Djavax.net.ssl.trustStore=";
    let options = ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"];
    let given = options.into_iter().find_map(|name| variable(seen, name)).unwrap_or(seen.command);
    match given.split_whitespace().find_map(|word| word.strip_prefix(OPTION)) {
        Some(store) => Cause {
            what: format!("Java with a trust store of its own: {store}"),
            fix: format!(
                "keytool -importcert -noprompt -alias weir -keystore {store} -file \
                 /var/lib/weir/weir-ca.pem"
            ),
        },
        None => Cause {
            what: "Java: reads its JDK's key store (lib/security/cacerts) once, at its start"
                .to_owned(),
            fix: format!("weir trust install --stores system,java --yes{}", then_restart(seen)),
        },
    }
}

/// A variable that replaces what the process would trust otherwise.
fn replaced(seen: &Seen<'_>, names: &[&str]) -> Option<Cause> {
    let (name, file) = names.iter().find_map(|name| Some((name, variable(seen, name)?)))?;
    Some(Cause {
        what: format!("{name}={file} replaces the system store, and lacks the CA"),
        fix: again(seen),
    })
}

fn missing(seen: &Seen<'_>) -> Option<Cause> {
    (!seen.installed).then(|| Cause {
        what: "the CA is not in the system store".to_owned(),
        fix: "weir trust install --yes".to_owned(),
    })
}

fn contained() -> Cause {
    Cause {
        what: "in a container, whose root store does not have the CA".to_owned(),
        fix: "start it with -v /etc/ssl/certs/ca-certificates.crt:\
              /etc/ssl/certs/ca-certificates.crt:ro -v /var/lib/weir/weir-ca.pem:/weir-ca.pem:ro \
              -e NODE_EXTRA_CA_CERTS=/weir-ca.pem"
            .to_owned(),
    }
}

fn variable<'a>(seen: &Seen<'a>, name: &str) -> Option<&'a str> {
    seen.traits.and_then(|traits| traits.variable(name))
}

/// How to start the process so that it trusts the CA.
fn again(seen: &Seen<'_>) -> String {
    if let Some(unit) = unit(seen.workload) {
        return format!("weir trust install --stores system,env --yes && systemctl restart {unit}");
    }
    match command(seen) {
        Some(command) => format!("weir run -- {command}"),
        None => format!("weir run -- {} …", seen.exe.rsplit('/').next().unwrap_or("CMD")),
    }
}

fn then_restart(seen: &Seen<'_>) -> String {
    match unit(seen.workload) {
        Some(unit) => format!(" && systemctl restart {unit}"),
        None => ", then start it again".to_owned(),
    }
}

/// The system's unit, as a word for a shell.
fn unit(workload: &str) -> Option<&str> {
    workload.strip_prefix("unit:").filter(|name| name.chars().all(is_plain))
}

/// The command line, where a shell would read it as it was meant.
fn command<'a>(seen: &Seen<'a>) -> Option<&'a str> {
    let is_plain = seen.command.chars().all(|c| is_plain(c) || c == ' ');
    // Stars are what stands in for what was taken out.
    (is_plain && !seen.command.is_empty() && seen.command.chars().count() <= COMMAND)
        .then_some(seen.command)
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-./=:,@+%".contains(c)
}

fn is_systems(path: &str) -> bool {
    path.starts_with("/usr/lib") || path.starts_with("/lib")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traits(variables: &[(&str, &str)]) -> Traits {
        let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        Traits { variables: variables.iter().map(own).collect(), ..Traits::default() }
    }

    fn anatomy(libraries: &[&str], packages: &[(&str, &str)]) -> Anatomy {
        let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        Anatomy {
            libraries: libraries.iter().map(|&path| path.to_owned()).collect(),
            packages: packages.iter().map(own).collect(),
            ..Anatomy::default()
        }
    }

    fn seen<'a>(exe: &'a str, traits: &'a Traits, anatomy: &'a Anatomy) -> Seen<'a> {
        Seen {
            exe,
            command: "agent --fast",
            workload: "exe:agent",
            traits: Some(traits),
            anatomy: Some(anatomy),
            installed: true,
        }
    }

    #[test]
    fn pythons_libraries_are_told_apart() {
        let none = traits(&[]);
        let old = anatomy(&[], &[("httpx", "0.28.1"), ("openai", "1.109.1"), ("requests", "2.32")]);
        let cause = rejected(&seen("/usr/bin/python3.11", &none, &old));
        assert!(cause.what.contains("httpx 0.28.1, openai 1.109.1, requests 2.32"), "{cause:?}");
        let reads = "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE and SSL_CERT_FILE";
        assert!(cause.what.contains(reads), "{cause:?}");
        assert_eq!(cause.fix, "weir run -- agent --fast");
        let new = anatomy(&["/opt/conda/lib/libssl.so.3"], &[("openai", "3.54.0")]);
        let cause = rejected(&seen("/opt/conda/bin/python3.11", &none, &new));
        assert!(cause.what.contains("/opt/conda/lib/libssl.so.3"), "{cause:?}");
        let elsewhere = traits(&[("SSL_CERT_FILE", "/x.pem")]);
        let cause = rejected(&seen("/usr/bin/python3.11", &elsewhere, &new));
        assert!(cause.what.starts_with("SSL_CERT_FILE=/x.pem replaces"), "{cause:?}");
        let without = Seen { installed: false, ..seen("/usr/bin/python3", &none, &new) };
        assert_eq!(rejected(&without).fix, "weir trust install --yes");
    }

    #[test]
    fn who_does_not_read_the_systems_store_is_not_sent_there() {
        let (none, plain) = (traits(&[]), anatomy(&[], &[]));
        for installed in [false, true] {
            let deno = Seen { installed, ..seen("/opt/deno", &none, &plain) };
            assert_eq!(rejected(&deno).fix, "weir run -- agent --fast");
        }
    }

    #[test]
    fn each_runtime_has_its_own_cause_and_cure() {
        let none = traits(&[]);
        let plain = anatomy(&[], &[]);
        let roots = Anatomy { roots: true, ..Anatomy::default() };
        let go = Anatomy { go: true, ..Anatomy::default() };
        let gnutls = anatomy(&["/usr/lib/libgnutls.so.30"], &[]);
        for (exe, anatomy, what, fix) in [
            ("/usr/bin/node", &plain, "without NODE_EXTRA_CA_CERTS", "weir run -- agent --fast"),
            ("/usr/lib/jvm/x/bin/java", &plain, "key store", "--stores system,java --yes"),
            ("/opt/x/launcher", &anatomy_of_jvm(), "key store", "--stores system,java --yes"),
            ("/usr/bin/chromium", &plain, "root store of its own", "--stores system,nss --yes"),
            ("/usr/bin/mystery", &roots, "compiled in", "base URL"),
            ("/usr/bin/mystery", &go, "Go reads", "weir run -- agent --fast"),
            ("/usr/bin/wget", &gnutls, "GnuTLS", "weir run -- agent --fast"),
            ("/usr/bin/mystery", &plain, "does not accept", "weir run -- agent --fast"),
        ] {
            let cause = rejected(&seen(exe, &none, anatomy));
            assert!(cause.what.contains(what) && cause.fix.contains(fix), "{exe}: {cause:?}");
        }
    }

    fn anatomy_of_jvm() -> Anatomy {
        anatomy(&["/opt/x/jre/lib/server/libjvm.so"], &[])
    }

    #[test]
    fn services_and_containers_are_mended_where_they_are_started() {
        let (none, plain) = (traits(&[]), anatomy(&[], &[]));
        let at = |workload| Seen { workload, ..seen("/usr/bin/node", &none, &plain) };
        let restarts = "systemctl restart batch.service";
        assert!(rejected(&at("unit:batch.service")).fix.ends_with(restarts));
        assert_eq!(older(&at("unit:batch.service")).fix, restarts);
        assert_eq!(older(&at("exe:x")).fix, "end it and start it again: agent --fast");
        assert!(rejected(&at("container:web")).what.contains("container"));
        assert!(not_installed(&at("pod:a/b")).what.contains("container"));
        assert_eq!(not_installed(&at("exe:x")).fix, "weir trust install --yes");
        assert!(!older(&at("unit:a;reboot.service")).fix.contains("reboot"));
    }

    #[test]
    fn a_command_that_a_shell_would_misread_is_not_repeated() {
        let (none, plain) = (traits(&[]), anatomy(&[], &[]));
        for command in ["x; rm -rf /", "x $(y)", "x 'a b'", ""] {
            let seen = Seen { command, ..seen("/usr/bin/node", &none, &plain) };
            assert_eq!(rejected(&seen).fix, "weir run -- node …", "{command}");
        }
    }
}
