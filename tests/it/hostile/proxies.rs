//! Clients that reach providers through a proxy of their network: metered where they ask for a
//! provider, and otherwise as if nobody were in between.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use agent::demo::daemon::Config;
use agent::drain::Drain;
use anyhow::ensure;
use harness::{Manner, Origin, Route, Stage, curl, on_stage};
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Where the proxy is, and one that the agent is not told of.
const KNOWN: ([u8; 4], u16) = ([192, 0, 2, 20], 3128);
/// `corp:secret`, as Basic has it.
const SECRET: &str = "Basic Y29ycDpzZWNyZXQ=";

/// A forward proxy with a password: `CONNECT`, and plain requests passed on as they are.
struct Proxy {
    heads: Arc<Mutex<Vec<String>>>,
    drain: Drain,
}

impl Proxy {
    async fn start(address: SocketAddr, steps: bool) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let (drain, heads) = (Drain::new(), Arc::<Mutex<Vec<String>>>::default());
        let (tasks, log) = (drain.clone(), Arc::clone(&heads));
        drain.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let log = Arc::clone(&log);
                // The client's leaving is how every connection ends.
                tasks.spawn(async move { drop(serve(stream, &log, steps).await) });
            }
        });
        Ok(Self { heads, drain })
    }

    fn tunnels(&self) -> usize {
        self.heads.lock().iter().filter(|head| head.contains(SECRET)).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.drain.signal();
    }
}

async fn serve(stream: TcpStream, log: &Mutex<Vec<String>>, steps: bool) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut greeted = false;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        log.lock().push(head.clone());
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        // A login in steps: on one connection, once without success and then with the same words.
        let allowed = head.contains(SECRET) && (greeted || !steps);
        greeted |= head.contains(SECRET);
        if !allowed {
            let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\n\
                proxy-authenticate: Basic realm=\"corp\"\r\ncontent-length: 11\r\n\r\nnot for you";
            stream.write_all(refusal.as_bytes()).await?;
            continue;
        }
        let to = target.strip_prefix("http://").unwrap_or(&target);
        let to = to.split('/').next().unwrap_or_default().to_owned();
        let to = if to.contains(':') { to } else { format!("{to}:80") };
        let mut far = TcpStream::connect(to).await?;
        if head.starts_with("CONNECT ") {
            stream
                .write_all(b"HTTP/1.1 200 Connection established\r\nx-proxy: corp\r\n\r\n")
                .await?;
        } else {
            far.write_all(head.as_bytes()).await?;
        }
        let rest = stream.buffer().to_vec();
        far.write_all(&rest).await?;
        let mut stream = stream.into_inner();
        tokio::io::copy_bidirectional(&mut stream, &mut far).await?;
        return Ok(());
    }
}

fn config(stage: &Stage) -> Config {
    stage.config().with(&["capture", "proxies"], json!(["bystander.example:3128"]))
}

const RIGHT: &str = "corp:secret@bystander.example:3128";
const WRONG: &str = "corp:guess@bystander.example:3128";

#[test]
fn calls_through_the_networks_proxy_are_metered() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let proxy = Proxy::start(SocketAddr::from(KNOWN), false).await?;
        let config = config(stage);
        stage.start(&config).await?;
        for version in ["--http1.1", "--http2"] {
            let words = curl(&[version, "-i", "-x", RIGHT]);
            let output = stage.succeed(Route::Redirect, &words).await?;
            ensure!(output.stdout.contains("x-proxy: corp"), "the proxy's own: {}", output.stdout);
            ensure!(output.stdout.contains("x-weir-call-id"), "{}", output.stdout);
            let process = stage.process(output.pid).await?;
            assert_eq!(process["coverage"], "metered", "{process}");
            assert_eq!(process["connections"][0]["reason"], "proxied", "{process}");
        }
        let calls = stage.settled(2).await?;
        ensure!(calls.iter().all(|call| call["outcome"] == "ok"), "{calls:?}");
        // No tunnel but the clients' own.
        assert_eq!(proxy.tunnels(), 2);
        let seen = stage.provider().seen();
        let told = seen.iter().any(|seen| seen.headers.contains_key("proxy-authorization"));
        ensure!(!told, "the proxy's password is for the proxy");
        let metrics = stage.metrics().await?;
        ensure!(
            metrics.contains("mode=\"metered\",provider=\"openai\",reason=\"proxied\""),
            "{metrics}"
        );
        Ok(())
    })
}

#[test]
fn what_the_proxy_refuses_is_refused_in_its_words() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let _proxy = Proxy::start(SocketAddr::from(KNOWN), false).await?;
        let config = config(stage);
        stage.start(&config).await?;
        let words = curl(&["-v", "-x", WRONG]);
        let direct = stage.run(Route::Direct, &words).await?;
        let output = stage.run(Route::Redirect, &words).await?;
        assert_eq!((output.code, direct.code), (Some(56), Some(56)), "{output:?}");
        for output in [&direct, &output] {
            ensure!(output.stderr.contains("407 Proxy Authentication Required"), "{output:?}");
            ensure!(output.stderr.contains("Basic realm=\"corp\""), "{output:?}");
        }
        assert_eq!(stage.provider().stats().requests, 0);
        let process = stage.process(output.pid).await?;
        assert_eq!(process["connections"][0]["reason"], "proxied", "{process}");
        assert_eq!(process["connections"][0]["failed"], 1, "{process}");
        Ok(())
    })
}

/// Asks without a password first, and then twice on the same connection.
const TALK: &str = "
import socket, ssl
s = socket.create_connection(('bystander.example', 3128))
def ask(fields):
    s.sendall(('CONNECT api.openai.com:443 HTTP/1.1\\r\\nhost: api.openai.com:443\\r\\n' + fields + '\\r\\n').encode())
    head = b''
    while not head.endswith(b'\\r\\n\\r\\n'):
        head += s.recv(1)
    if b'content-length: 11' in head:
        assert s.recv(11) == b'not for you'
    return head.split()[1].decode()
login = 'proxy-authorization: Basic Y29ycDpzZWNyZXQ=\\r\\n'
print(ask(''), ask(login), ask(login))
t = ssl.create_default_context().wrap_socket(s, server_hostname='api.openai.com')
t.sendall(b'GET /v1/models HTTP/1.1\\r\\nhost: api.openai.com\\r\\nauthorization: Bearer sk-t\\r\\nconnection: close\\r\\n\\r\\n')
print(t.recv(12).decode())
";

#[test]
fn a_login_in_steps_ends_in_a_metered_tunnel() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let proxy = Proxy::start(SocketAddr::from(KNOWN), true).await?;
        let config = config(stage);
        stage.start(&config).await?;
        let output = stage.succeed(Route::Redirect, &["python3", "-c", TALK]).await?;
        assert_eq!(output.stdout, "407 407 200\nHTTP/1.1 200\n", "{}", output.stderr);
        assert_eq!(stage.settled(1).await?[0]["outcome"], "ok");
        assert_eq!(proxy.tunnels(), 2);
        Ok(())
    })
}

#[test]
fn whatever_else_the_proxy_is_asked_for_is_untouched() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let proxy = Proxy::start(SocketAddr::from(KNOWN), false).await?;
        let unknown = Proxy::start(SocketAddr::from((KNOWN.0, 3129)), false).await?;
        let plain = Origin::start(SocketAddr::from((KNOWN.0, 8080)), Manner::Http).await?;
        let config = config(stage);
        stage.start(&config).await?;
        // The provider under a name that is none of its own: its own certificate is seen.
        let ca = stage.scratch().join("provider-ca.pem").display().to_string();
        let hosts = ["--cacert", &ca, "--capath", "/nonexistent"];
        let other = "https://localhost:443/v1/chat/completions";
        let way = ["-x", RIGHT, "--resolve", "localhost:443:192.0.2.10", other];
        let _listening =
            Origin::start(SocketAddr::from(([127, 0, 0, 1], 443)), Manner::Banner).await?;
        let output = stage.run(Route::Redirect, &curl(&[&hosts[..], &way].concat())).await?;
        ensure!(output.code == Some(35), "its own TLS, which is none: {output:?}");
        let process = stage.process(output.pid).await?;
        assert_eq!(process["connections"][0]["reason"], "not_llm", "{process}");
        // Plain HTTP.
        let plainly = "http://bystander.example:8080/v1/chat/completions";
        let output = stage.succeed(Route::Redirect, &curl(&["-x", RIGHT, plainly])).await?;
        ensure!(output.stdout.contains("chat.completion"), "{output:?}");
        let process = stage.process(output.pid).await?;
        assert_eq!(process["connections"][0]["reason"], "not_tls", "{process}");
        let heads = plain.heads().concat().to_lowercase();
        ensure!(heads.contains("proxy-connection: keep-alive"), "byte for byte: {heads}");
        ensure!(!heads.contains("x-weir"), "{heads}");
        assert_eq!(proxy.tunnels(), 2);
        // A proxy nobody told of is not looked at.
        let way = RIGHT.replace("3128", "3129");
        stage.succeed(Route::Redirect, &curl(&["-x", &way])).await?;
        assert_eq!(unknown.tunnels(), 1);
        assert_eq!(stage.calls().await?, [] as [serde_json::Value; 0]);
        Ok(())
    })
}

#[test]
fn each_client_has_tunnels_of_its_own() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let proxy = Proxy::start(SocketAddr::from(KNOWN), false).await?;
        let config = config(stage);
        stage.start(&config).await?;
        // Opens a tunnel that is kept after its end, then another client with a wrong password.
        stage.succeed(Route::Redirect, &curl(&["-x", RIGHT])).await?;
        let output = stage.run(Route::Redirect, &curl(&["-x", WRONG])).await?;
        assert_eq!(output.code, Some(56), "{output:?}");
        assert_eq!(proxy.tunnels(), 1);
        assert_eq!(stage.provider().stats().requests, 1);
        Ok(())
    })
}

#[test]
fn an_sdk_behind_a_proxy_is_metered() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let proxy = Proxy::start(SocketAddr::from(KNOWN), false).await?;
        let config = config(stage);
        stage.start(&config).await?;
        let python = harness::artefacts::client("python-current")?.join("bin/python3");
        let script = harness::artefacts::script("python/openai_chat.py");
        let words = [python.display().to_string(), script.display().to_string()];
        let words = words.each_ref().map(String::as_str);
        let mut command = stage.command(Route::Redirect, &words)?;
        let output = command.env("HTTPS_PROXY", format!("http://{RIGHT}")).spawn()?;
        let output = harness::Output::of(output).await?;
        assert_eq!(output.code, Some(0), "{output:?}");
        ensure!(proxy.tunnels() >= 1);
        let calls = stage.settled(1).await?;
        ensure!(calls.iter().all(|call| call["outcome"] == "ok" && call["pid"] == output.pid));
        Ok(())
    })
}

#[test]
fn in_observe_nothing_is_led_astray() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let proxy = Proxy::start(SocketAddr::from(KNOWN), false).await?;
        let config = config(stage).with(&["mode"], json!("observe"));
        stage.start(&config).await?;
        let output = stage.succeed(Route::Redirect, &curl(&["-i", "-x", RIGHT])).await?;
        ensure!(!output.stdout.contains("x-weir-call-id"), "{}", output.stdout);
        assert_eq!(proxy.tunnels(), 1);
        let process = stage.process(output.pid).await?;
        assert_eq!(process["connections"][0]["treatment"], "direct", "{process}");
        Ok(())
    })
}
