//! Providers whose certificate is not what it should be: the client is told why, and the provider
//! nothing.

use agent::clock::{Clock as _, System};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use harness::{Route, Stage, curl, on_stage, until};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};
use tokio::net::TcpStream;

const DAY: Duration = Duration::from_hours(24);
const GATEWAY: &str = "http://127.0.0.1:4180/openai/v1/chat/completions";

/// Certificates in `directory`: `NAME.pem` and `NAME.key` for each name, by `ca.pem`.
fn make(directory: &Path) -> anyhow::Result<Vec<(&'static str, &'static str)>> {
    let now = System.now().wall;
    let ca = |name: &str| -> anyhow::Result<_> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
    };
    let (trusted, other) = (ca("trusted")?, ca("other")?);
    std::fs::write(directory.join("ca.pem"), trusted.pem())?;
    let leaf = |host: &str, from: SystemTime, to: SystemTime, usage| -> anyhow::Result<_> {
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.not_before = from.into();
        params.not_after = to.into();
        params.extended_key_usages = vec![usage];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        Ok(params)
    };
    let server = ExtendedKeyUsagePurpose::ServerAuth;
    let (past, future) = (now - 9 * DAY, now + 9 * DAY);
    let openai = "api.openai.com";
    let rows = [
        ("expired", openai, past, now - DAY, server.clone(), Some(&trusted)),
        ("not_yet_valid", openai, now + DAY, future, server.clone(), Some(&trusted)),
        ("wrong_name", "other.example", past, future, server.clone(), Some(&trusted)),
        ("unknown_issuer", openai, past, future, server.clone(), Some(&other)),
        ("self_signed", openai, past, future, server, None),
        (
            "wrong_purpose",
            openai,
            past,
            future,
            ExtendedKeyUsagePurpose::ClientAuth,
            Some(&trusted),
        ),
    ];
    let mut made = Vec::new();
    for (name, host, from, to, usage, issuer) in rows {
        let (params, key) = (leaf(host, from, to, usage)?, KeyPair::generate()?);
        let certificate = match issuer {
            Some(issuer) => params.signed_by(&key, issuer)?,
            None => params.self_signed(&key)?,
        };
        std::fs::write(directory.join(format!("{name}.pem")), certificate.pem())?;
        std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem())?;
        made.push((name, if name == "self_signed" { "unknown_issuer" } else { name }));
    }
    std::fs::write(directory.join("ca.key"), trusted.key().serialize_pem())?;
    Ok(made)
}

/// Certificates of kinds that our own libraries would not make: by openssl, of the same CA.
async fn make_weak(
    stage: &Stage,
    directory: &Path,
) -> anyhow::Result<Vec<(&'static str, &'static str)>> {
    const MAKE: &str = "set -e; cd \"$1\"
printf 'subjectAltName=DNS:api.openai.com\\nextendedKeyUsage=serverAuth\\n' > extensions
make() {
  openssl req -new -newkey \"rsa:$2\" -nodes -keyout \"$1.key\" -out \"$1.csr\" -subj /CN=weak \
    -provider default
  openssl x509 -req -in \"$1.csr\" -CA ca.pem -CAkey ca.key -CAcreateserial \"-$3\" -days 9 \
    -extfile extensions -out \"$1.pem\"
}
make rsa_1024 1024 sha256
make sha1 2048 sha1";
    let directory = directory.to_str().context("a path in UTF-8")?;
    stage.succeed(Route::Direct, &["sh", "-c", MAKE, "sh", directory]).await?;
    Ok(vec![("rsa_1024", ""), ("sha1", "weak")])
}

#[test]
fn a_bad_certificate_is_named_to_the_client_and_told_nothing() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let directory: PathBuf = stage.scratch().join("certificates");
        std::fs::create_dir(&directory)?;
        let mut cases = make(&directory)?;
        cases.extend(make_weak(stage, &directory).await?);
        let ca = directory.join("ca.pem");
        let config = stage.config().with(&["providers", "openai", "ca_file"], json!(ca));
        stage.start(&config).await?;
        stage.provider().listen(false);
        let address = "192.0.2.10:443";
        for (name, problem) in cases {
            until("the port", async || {
                Ok(TcpStream::connect(address).await.is_err().then_some(()))
            })
            .await?;
            let certificate = directory.join(format!("{name}.pem")).display().to_string();
            let key = directory.join(format!("{name}.key")).display().to_string();
            let words = ["openssl", "s_server", "-accept", address, "-cert", &certificate, "-key"];
            let weak = ["-cipher", "ALL:@SECLEVEL=0", "-www"];
            let words = [&words[..], &[&key], &weak].concat();
            let mut server = stage.command(Route::Direct, &words)?.spawn()?;
            until("the server", async || {
                ensure!(server.try_wait()?.is_none(), "s_server ended with {name}");
                Ok(TcpStream::connect(address).await.is_ok().then_some(()))
            })
            .await?;
            for (route, more) in [
                (Route::Redirect, &["--http1.1"][..]),
                (Route::Redirect, &["--http2"]),
                (Route::Proxy, &["--http1.1"]),
                (Route::Direct, &[GATEWAY]),
            ] {
                let told = tell(stage, route, more).await.context(name)?;
                ensure!(told["code"] == "upstream_certificate", "{name} {route:?}: {told}");
                ensure!(told["host"] == "api.openai.com", "{name}: {told}");
                let is_it = problem.is_empty() || told["problem"] == problem;
                ensure!(is_it, "{name} {route:?}: {told}");
            }
            server.kill().await?;
        }
        assert_eq!(stage.provider().stats().requests, 0);
        for call in stage.settled(32).await? {
            assert_eq!((&call["status"], &call["outcome"]), (&json!(502), &json!("connect_error")));
            let attempts = call["attempts"]
                .as_array()
                .map_or_else(|| call["attempts"].as_u64(), |all| Some(all.len() as u64));
            assert_eq!(attempts, Some(1), "asked once: {call}");
            let detail =
                stage.daemon()?.read(&["explain", call["call_id"].as_str().unwrap()]).await?;
            ensure!(detail.to_string().contains("the certificate of api.openai.com"), "{detail}");
        }
        // One handshake before each client's own is finished, and one for each call.
        for (problem, least, most) in [("expired", 4, 7), ("unknown_issuer", 8, 14)] {
            let labels = format!("host=\"api.openai.com\",problem=\"{problem}\"");
            let name = "weir_upstream_certificate_failures_total";
            let count: u64 = stage.metric(name, &labels).await?;
            ensure!((least..=most).contains(&count), "{problem}: {count}");
        }
        Ok(())
    })
}

/// The error a client is answered with, which it is told not to ask for again.
async fn tell(stage: &Stage, route: Route, more: &[&str]) -> anyhow::Result<Value> {
    let words = [&["-D", "/dev/stderr"][..], more].concat();
    let output = stage.run(route, &curl(&words)).await?;
    ensure!(output.code == Some(22), "{output:?}");
    ensure!(output.stderr.contains(" 502"), "{}", output.stderr);
    ensure!(output.stderr.contains("x-should-retry: false"), "{output:?}");
    let answer: Value = serde_json::from_str(&output.stdout)?;
    Ok(answer["error"].clone())
}
