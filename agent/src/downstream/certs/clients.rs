//! Real TLS clients against minted leaves over loopback: who accepts them, and that each refuses
//! what the name constraints forbid. Clients that are not installed are passed over.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Leaves, set_validity};
use crate::clock::{Clock, System};
use crate::downstream::ca::{Authority, serial};
use crate::downstream::trust::{Reached, Signal, classify};

const INSIDE: &str = "api.openai.com";
const OUTSIDE: &str = "api.example.com";

/// Everything a client run needs.
struct Site {
    dir: tempfile::TempDir,
    authority: Arc<Authority>,
    leaves: Arc<Leaves>,
    now: SystemTime,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = System.now().wall;
        let authority = Arc::new(Authority::open_or_create(dir.path(), &[INSIDE], now).unwrap());
        let leaves = Arc::new(Leaves::new(Arc::clone(&authority)).unwrap());
        Self { dir, authority, leaves, now }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("weir-ca.pem")
    }

    /// Serves HTTP 200 on a loopback port until the process ends.
    fn serve(&self) -> u16 {
        let inside = self.leaves.config_for(INSIDE, &[b"http/1.1".to_vec()], self.now).unwrap();
        let outside = Arc::new(forged(&self.authority, self.now));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let mut start = [0; 512];
                let peeked = stream.peek(&mut start).unwrap();
                let forged = !start[..peeked].windows(INSIDE.len()).any(|w| w == INSIDE.as_bytes());
                let config = if forged { Arc::clone(&outside) } else { Arc::clone(&inside) };
                // A client that refuses us ends in an error here, which is what is tested there.
                let _ended =
                    answer(StreamOwned::new(ServerConnection::new(config).unwrap(), stream));
            }
        });
        port
    }
}

fn answer(mut tls: StreamOwned<ServerConnection, std::net::TcpStream>) -> std::io::Result<()> {
    let mut request = [0; 4096];
    let _head = tls.read(&mut request)?;
    tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")?;
    tls.conn.send_close_notify();
    tls.flush()
}

/// What a thief of the intermediate's key could serve: a leaf for a host outside the constraints,
/// or for an address where the client names none.
fn forged(authority: &Authority, now: SystemTime) -> ServerConfig {
    #[derive(Debug)]
    struct ByName(Arc<CertifiedKey>);
    impl ResolvesServerCert for ByName {
        fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial().unwrap());
    set_validity(&mut params, now - super::BACKDATE, now + super::BACKDATE);
    params.subject_alt_names = vec![
        SanType::DnsName(OUTSIDE.try_into().unwrap()),
        SanType::IpAddress(Ipv4Addr::LOCALHOST.into()),
    ];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let leaf = params.signed_by(&key, authority.issuer()).unwrap();
    let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialized_der()));
    let signer = aws_lc_rs::sign::any_ecdsa_type(&der).unwrap();
    let chain = vec![leaf.der().clone(), authority.intermediate().clone()];
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName(Arc::new(CertifiedKey::new(chain, signer)))))
}

/// Runs a client with none of this environment's trust settings; `None` where it is not installed.
fn run(program: impl AsRef<Path>, args: &[&str], env: &[(&str, &Path)]) -> Option<Output> {
    let mut command = Command::new(program.as_ref());
    command.args(args).env_clear();
    if let Some(path) = std::env::vars_os().find(|(name, _)| name == "PATH") {
        command.env("PATH", path.1);
    }
    command.envs(env.iter().copied()).stdin(std::process::Stdio::null());
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("{} is not installed: passed over", program.as_ref().display());
            None
        }
        Err(error) => panic!("{}: {error}", program.as_ref().display()),
    }
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// The client gets its answer inside, and refuses with a complaint about the certificate outside.
fn assert_enforces(inside: Option<Output>, outside: Option<Output>) {
    if let Some(inside) = inside {
        assert!(inside.status.success(), "{}", said(&inside));
    }
    if let Some(outside) = outside {
        let said = said(&outside);
        assert!(!outside.status.success(), "{said}");
        let complaint = said.to_lowercase();
        assert!(
            complaint.contains("permitted subtree") || complaint.contains("excluded"),
            "{said}"
        );
    }
}

#[test]
fn curl_accepts_inside_and_refuses_outside() {
    let site = Site::new();
    let port = site.serve();
    let root = site.root();
    let fetch = |host: &str| {
        let resolve = format!("{host}:{port}:127.0.0.1");
        let url = format!("https://{host}:{port}/");
        let root = root.to_str().unwrap();
        run("curl", &["-sS", "--cacert", root, "--resolve", &resolve, &url], &[])
    };
    assert_enforces(fetch(INSIDE), fetch(OUTSIDE));
    let address = format!("https://127.0.0.1:{port}/");
    assert_enforces(None, run("curl", &["-sS", "--cacert", root.to_str().unwrap(), &address], &[]));
}

#[test]
fn openssl_accepts_the_chain_strictly_over_both_versions() {
    let site = Site::new();
    let port = site.serve();
    let root = site.root();
    let connect = format!("127.0.0.1:{port}");
    for version in ["-tls1_2", "-tls1_3"] {
        let dial = |host: &str| {
            let root = root.to_str().unwrap();
            let mut args = vec!["s_client", "-brief", "-connect", &connect, "-servername", host];
            args.extend(["-verify_hostname", host, "-verify_return_error", "-x509_strict"]);
            args.extend(["-CAfile", root, "-no-CApath", version]);
            run("openssl", &args, &[])
        };
        assert_enforces(dial(INSIDE), dial(OUTSIDE));
    }
}

#[test]
fn openssl_verify_accepts_the_chain_strictly() {
    let site = Site::new();
    let pem = |name: &str, der: &[u8]| {
        let path = site.dir.path().join(name);
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<_> =
            body.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).unwrap()).collect();
        let text = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            lines.join("\n")
        );
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let chain = served_chain(&site);
    let (leaf, intermediate) = (pem("leaf.pem", &chain[0]), pem("chain.pem", &chain[1]));
    let root = site.root();
    let mut args =
        vec!["verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", INSIDE];
    args.extend([
        "-no-CApath",
        "-CAfile",
        root.to_str().unwrap(),
        "-untrusted",
        &intermediate,
        &leaf,
    ]);
    if let Some(output) = run("openssl", &args, &[]) {
        assert!(output.status.success(), "{}", said(&output));
    }
}

/// The chain a client is sent.
fn served_chain(site: &Site) -> Vec<Vec<u8>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(site.authority.root().certificate().clone()).unwrap();
    let client =
        rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let name = INSIDE.try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
    let config = site.leaves.config_for(INSIDE, &[], site.now).unwrap();
    let mut server = ServerConnection::new(config).unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    server.read_tls(&mut wire.as_slice()).unwrap();
    server.process_new_packets().unwrap();
    wire.clear();
    while server.wants_write() {
        server.write_tls(&mut wire).unwrap();
    }
    let mut sent = wire.as_slice();
    while !sent.is_empty() {
        client.read_tls(&mut sent).unwrap();
        client.process_new_packets().unwrap();
    }
    client.peer_certificates().unwrap().iter().map(|der| der.to_vec()).collect()
}

/// The newest Python there is: 3.13 checks strictly unless told otherwise; older ones are told to.
fn python() -> PathBuf {
    let home = std::env::home_dir().unwrap_or_default();
    let mut versions: Vec<_> = std::fs::read_dir(home.join(".pyenv/versions"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("3.1"))
        .collect();
    versions.sort();
    let newest = versions.pop().map(|v| home.join(".pyenv/versions").join(v).join("bin/python3"));
    newest.filter(|path| path.exists()).unwrap_or_else(|| "python3".into())
}

#[test]
fn python_accepts_strictly_and_refuses_outside() {
    const SCRIPT: &str = "
import socket, ssl, sys
root, host, port = sys.argv[1:]
context = ssl.create_default_context(cafile=root)
context.verify_flags |= ssl.VERIFY_X509_STRICT
with socket.create_connection(('127.0.0.1', int(port))) as raw:
    with context.wrap_socket(raw, server_hostname=host) as tls:
        tls.sendall(b'GET / HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n')
        assert tls.recv(4096).startswith(b'HTTP/1.1 200')
";
    let site = Site::new();
    let port = site.serve().to_string();
    let root = site.root();
    let fetch =
        |host: &str| run(python(), &["-c", SCRIPT, root.to_str().unwrap(), host, &port], &[]);
    assert_enforces(fetch(INSIDE), fetch(OUTSIDE));
}

#[test]
fn node_accepts_inside_and_refuses_outside() {
    const SCRIPT: &str = "
const [host, port] = process.argv.slice(1);
require('https').get({ host: '127.0.0.1', port, servername: host, headers: { host } }, (res) => {
  process.exit(res.statusCode === 200 ? 0 : 1);
}).on('error', (error) => { console.error(error.message); process.exit(1); });
";
    let site = Site::new();
    let port = site.serve().to_string();
    let root = site.root();
    let fetch = |host: &str| {
        run("node", &["-e", SCRIPT, host, &port], &[("NODE_EXTRA_CA_CERTS", root.as_path())])
    };
    assert_enforces(fetch(INSIDE), fetch(OUTSIDE));
}

/// What a client's refusal looks like from here.
fn refusal(program: &str, args: impl Fn(u16) -> Vec<String>) -> Option<Signal> {
    let site = Site::new();
    let config = site.leaves.config_for(INSIDE, &[], site.now).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let args = args(listener.local_addr().unwrap().port());
    let client = std::thread::spawn({
        let program = program.to_owned();
        move || run(program, &args.iter().map(String::as_str).collect::<Vec<_>>(), &[])
    });
    // Whoever is not installed does not come.
    listener.set_nonblocking(true).unwrap();
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(_) if client.is_finished() => return None,
            Err(_) => std::thread::yield_now(),
        }
    };
    stream.set_nonblocking(false).unwrap();
    let mut connection = ServerConnection::new(config).unwrap();
    let error = connection.complete_io(&mut stream).unwrap_err();
    drop(stream);
    assert!(!client.join().unwrap().unwrap().status.success());
    Some(classify(&error, Reached::Certificate).unwrap())
}

#[test]
fn real_refusals_are_recognised() {
    let curl = refusal("curl", |port| {
        let resolve = format!("{INSIDE}:{port}:127.0.0.1");
        let url = format!("https://{INSIDE}:{port}/");
        ["-sS", "--resolve", &resolve, &url].map(str::to_owned).to_vec()
    });
    assert!(curl.is_none_or(|signal| signal == Signal::Alert(48)), "{curl:?}");
    let node = refusal("node", |port| {
        let script = format!(
            "require('https').get({{host:'127.0.0.1',port:{port},servername:'{INSIDE}'}})\
             .on('error',()=>process.exit(1))"
        );
        vec!["-e".to_owned(), script]
    });
    assert!(node.is_none_or(|signal| matches!(signal, Signal::Fin | Signal::Rst)), "{node:?}");
}
