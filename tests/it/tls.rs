//! Captured connections: which are terminated, in which protocol, and which are left alone.

use std::net::SocketAddr;

use agent::demo::stage::Cgroup;
use harness::{Manner, Origin, Output, Route, Stage, curl, on_stage};
use serde_json::json;

#[test]
fn the_provider_sees_the_http_version_that_the_client_speaks() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        for (flag, spoken, seen) in
            [("--http1.1", "1.1", http::Version::HTTP_11), ("--http2", "2", http::Version::HTTP_2)]
        {
            let words = curl(&[flag, "-o", "/dev/null", "-w", "%{http_version}"]);
            let output = stage.succeed(Route::Redirect, &words).await?;
            assert_eq!(output.stdout, spoken);
            assert_eq!(stage.provider().seen().last().map(|seen| seen.version), Some(seen));
        }
        let calls = stage.settled(2).await?;
        assert!(calls.iter().all(|call| call["via"] == "intercept" && call["outcome"] == "ok"));
        Ok(())
    })
}

#[test]
fn a_client_without_alpn_is_metered() -> anyhow::Result<()> {
    const CLIENT: &str = "
import http.client, ssl
# A context of one's own is one without ALPN.
connection = http.client.HTTPSConnection('api.openai.com', context=ssl.create_default_context())
body = '{\"model\":\"gpt-4o-mini\",\"messages\":[]}'
connection.request('POST', '/v1/chat/completions', body, {'authorization': 'Bearer sk-test'})
print(connection.getresponse().status, connection.sock.selected_alpn_protocol())
";
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let output = python(stage, CLIENT).await?;
        assert_eq!(output.stdout, "200 None\n", "{}", output.stderr);
        let calls = stage.settled(1).await?;
        assert_eq!(calls[0]["pid"], output.pid);
        assert_eq!(calls[0]["outcome"], "ok");
        Ok(())
    })
}

#[test]
fn another_name_on_a_captured_address_is_relayed_untouched() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        // The provider has a certificate for `localhost` too; it alone is trusted here.
        let ca = stage.scratch().join("provider-ca.pem").display().to_string();
        let words = curl(&[
            "--cacert",
            &ca,
            "--capath",
            "/nonexistent",
            "--connect-to",
            "localhost:443:192.0.2.10:443",
            "https://localhost/v1/chat/completions",
        ]);
        let output = stage.succeed(Route::Redirect, &words).await?;
        let process = stage.process(output.pid).await?;
        assert_eq!(process["connections"][0]["treatment"], "opaque");
        assert_eq!(process["connections"][0]["reason"], "not_llm");
        assert!(process["connections"][0]["bytes_down"].as_u64() > Some(500), "{process}");
        assert_eq!(stage.calls().await?, [] as [serde_json::Value; 0]);
        Ok(())
    })
}

#[test]
fn what_is_not_tls_is_relayed_whoever_speaks_first() -> anyhow::Result<()> {
    const TALK: &str = "
import socket, sys
with socket.create_connection(('192.0.2.10', int(sys.argv[1]))) as s, s.makefile('rw') as f:
    if sys.argv[2] == 'listen':
        print(f.readline().strip())
    f.write('anybody there?\\n')
    f.flush()
    print(f.readline().strip())
";
    on_stage(async |stage| {
        let at = |port| SocketAddr::from(([192, 0, 2, 10], port));
        let _echo = Origin::start(at(7007), Manner::Echo).await?;
        let _banner = Origin::start(at(7008), Manner::Banner).await?;
        let config = stage.config().with(&["capture", "ports"], json!([443, 7007, 7008]));
        stage.start(&config).await?;
        for (port, who, said, reason) in [
            ("7007", "speak", "anybody there?\n", "not_tls"),
            ("7008", "listen", "220 ready\nanybody there?\n", "silent"),
        ] {
            let words = ["python3", "-c", TALK, port, who];
            let output = stage.succeed(Route::Redirect, &words).await?;
            assert_eq!(output.stdout, said);
            let process = stage.process(output.pid).await?;
            assert_eq!(process["connections"][0]["treatment"], "opaque");
            assert_eq!(process["connections"][0]["reason"], reason);
        }
        Ok(())
    })
}

#[test]
fn hellos_that_name_nobody_we_know_are_relayed_untouched_and_say_why() -> anyhow::Result<()> {
    // Sends a hello to a server that repeats it; prints whether it came back as it was.
    const HELLO: &str = "
import socket, struct, sys
name, ech = sys.argv[1].encode(), sys.argv[2] == 'ech'
def extension(kind, data):
    return struct.pack('!HH', kind, len(data)) + data
extensions = b''
if name:
    extensions += extension(0, struct.pack('!HBH', len(name) + 3, 0, len(name)) + name)
if ech:
    extensions += extension(0xfe0d, bytes(200))
body = b'\\3\\3' + bytes(32) + b'\\0' + b'\\0\\2\\x13\\1' + b'\\1\\0'
body += struct.pack('!H', len(extensions)) + extensions
message = b'\\1\\0' + struct.pack('!H', len(body)) + body
hello = b'\\x16\\3\\1' + struct.pack('!H', len(message)) + message + b'\\n'
with socket.create_connection(('192.0.2.10', 7007)) as s:
    s.sendall(hello)
    came = b''
    while len(came) < len(hello):
        came += s.recv(4096)
    print(came == hello)
";
    on_stage(async |stage| {
        let _echo = Origin::start(SocketAddr::from(([192, 0, 2, 10], 7007)), Manner::Echo).await?;
        let config = stage.config().with(&["capture", "ports"], json!([443, 7007]));
        stage.start(&config).await?;
        for (name, ech, reason) in [
            ("", "", "no_sni"),
            ("", "ech", "ech"),
            ("cloudflare-ech.com", "ech", "ech"),
            ("example.com", "", "not_llm"),
        ] {
            let words = ["python3", "-c", HELLO, name, ech];
            let output = stage.succeed(Route::Redirect, &words).await?;
            assert_eq!(output.stdout, "True\n", "{}", output.stderr);
            let process = stage.process(output.pid).await?;
            assert_eq!(process["connections"][0]["treatment"], "opaque", "{name} {ech}");
            assert_eq!(process["connections"][0]["reason"], reason, "{name} {ech}");
        }
        Ok(())
    })
}

#[test]
fn processes_outside_the_captured_cgroup_are_left_alone() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let inner: Cgroup = stage.inner().cgroup().child("inner")?;
        let mut inside = tokio::process::Command::from(inner.command("curl"));
        let inside = inside.args(&curl(&[])[1..]).output().await?;
        assert!(inside.status.success(), "in a child of the captured cgroup");
        stage.succeed(Route::Direct, &curl(&[])).await?;
        let calls = stage.settled(1).await?;
        assert_eq!(stage.provider().stats().billed, 2);
        assert_eq!(calls.len(), 1, "one of two was captured");
        Ok(())
    })
}

async fn python(stage: &Stage, script: &str) -> anyhow::Result<Output> {
    stage.succeed(Route::Redirect, &["python3", "-c", script]).await
}
