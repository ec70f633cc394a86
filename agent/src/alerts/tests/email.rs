//! E-mail against scripted servers: in clear, with STARTTLS, with TLS from the first byte, and
//! against one that tries to talk before TLS.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncWrite, BufReader};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::alerts::settings::{Mail, MailTls};

/// Certificates for `mail.test`: what the server presents, and whom the client trusts.
pub(super) fn certificates() -> (TlsAcceptor, rustls::RootCertStore) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["mail.test".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &root).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    (TlsAcceptor::from(Arc::new(config)), roots)
}

/// Speaks one part of a session: waits for each line and answers it. Returns what it was told.
async fn speak(
    stream: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>,
    script: &[(&str, &str)],
) -> Vec<String> {
    let mut heard = Vec::new();
    for (expected, answer) in script {
        let mut line = String::new();
        while !expected.is_empty() {
            line.clear();
            assert_ne!(stream.read_line(&mut line).await.unwrap(), 0, "waiting for {expected}");
            heard.push(line.trim_end().to_owned());
            // A message is read up to its dot.
            if *expected != "." || line == ".\r\n" {
                break;
            }
        }
        assert!(line.starts_with(expected), "{line} instead of {expected}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
    }
    heard
}

const MESSAGE: [(&str, &str); 5] = [
    ("MAIL FROM:<weir@a.test>", "250 ok\r\n"),
    ("RCPT TO:<one@a.test>", "250 ok\r\n"),
    ("RCPT TO:<two@a.test>", "550 no such user\r\n"),
    ("DATA", "354 go on\r\n"),
    (".", "250 queued\r\n"),
];

fn mail(port: u16, tls: MailTls, login: bool) -> Channel<Secret> {
    let login = login.then(|| (Arc::from("user"), Secret::new("pass word")));
    let mail = Mail {
        host: Arc::from("mail.test"),
        port,
        tls,
        login,
        from: Arc::from("weir@a.test"),
        to: vec![Arc::from("one@a.test"), Arc::from("two@a.test")],
    };
    channel("mail", Means::Email(mail))
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Sends one notice and says how it went.
async fn tell(channel: Channel<Secret>, roots: rustls::RootCertStore) -> Delivery {
    let dir = tempfile::tempdir().unwrap();
    let pace = Pace { attempts: 1, ..PACE };
    let parts = Parts { pace, ..parts(vec![channel]) };
    let running = Running::over_dial(dir.path(), parts, dial(roots));
    running.alerts.notice(sample::budget());
    let delivery = running.over(1).await.remove(0);
    running.stop().await;
    delivery
}

fn body(heard: &[String]) -> String {
    let message = heard.join("\r\n");
    let (_, encoded) = message.split_once("\r\n\r\n").unwrap();
    let encoded: String = encoded.lines().take_while(|line| *line != ".").collect();
    String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap()
}

#[tokio::test]
async fn in_clear_and_one_refused_recipient_does_not_lose_the_others() {
    let (listener, port) = listen().await;
    let server = async {
        let mut stream = BufReader::new(listener.accept().await.unwrap().0);
        let start = [("", "220-mail.test\r\n220 ready\r\n"), ("EHLO host", "250 mail.test\r\n")];
        speak(&mut stream, &start).await;
        speak(&mut stream, &MESSAGE).await
    };
    let channel = mail(port, MailTls::Clear, false);
    let (delivery, heard) = tokio::join!(tell(channel, rustls::RootCertStore::empty()), server);
    assert_eq!(delivery.status, Status::Delivered, "{:?}", delivery.error);
    assert!(heard.contains(&"To: one@a.test,".to_owned()), "{heard:?}");
    assert!(body(&heard).starts_with("code-reviewer: 82.5%\r\n"), "{}", body(&heard));
}

#[tokio::test]
async fn starttls_comes_before_the_password() {
    let (listener, port) = listen().await;
    let (acceptor, roots) = certificates();
    let server = async {
        let mut stream = BufReader::new(listener.accept().await.unwrap().0);
        let start = [
            ("", "220 ready\r\n"),
            ("EHLO", "250-mail.test\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n"),
            ("STARTTLS", "220 go on\r\n"),
        ];
        speak(&mut stream, &start).await;
        let mut stream = BufReader::new(acceptor.accept(stream.into_inner()).await.unwrap());
        // "\0user\0pass word" in base64.
        let login = [
            ("EHLO", "250-mail.test\r\n250 AUTH LOGIN PLAIN\r\n"),
            ("AUTH PLAIN AHVzZXIAcGFzcyB3b3Jk", "235 welcome\r\n"),
        ];
        speak(&mut stream, &login).await;
        speak(&mut stream, &MESSAGE).await
    };
    let (delivery, _) = tokio::join!(tell(mail(port, MailTls::StartTls, true), roots), server);
    assert_eq!(delivery.status, Status::Delivered, "{:?}", delivery.error);
}

#[tokio::test]
async fn tls_from_the_first_byte_and_a_login_in_two_steps() {
    let (listener, port) = listen().await;
    let (acceptor, roots) = certificates();
    let server = async {
        let stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        let mut stream = BufReader::new(stream);
        let start = [
            ("", "220 ready\r\n"),
            ("EHLO", "250-mail.test\r\n250 AUTH=LOGIN\r\n"),
            ("AUTH LOGIN", "334 VXNlcm5hbWU6\r\n"),
            ("dXNlcg==", "334 UGFzc3dvcmQ6\r\n"),
            ("cGFzcyB3b3Jk", "535 5.7.8 wrong\r\n"),
        ];
        speak(&mut stream, &start).await
    };
    let (delivery, _) = tokio::join!(tell(mail(port, MailTls::Implicit, true), roots), server);
    assert_eq!(delivery.status, Status::Dead);
    let error = delivery.error.unwrap();
    assert_eq!(error, "the mail server answered 535 5.7.8 wrong to the password");
}

#[tokio::test]
async fn nothing_is_said_to_a_server_without_the_tls_that_was_asked_for() {
    // It offers none; it talks on before TLS begins, as one in the middle would.
    let cases = [
        ("250 mail.test\r\n", None, "the server offers no STARTTLS"),
        (
            "250-mail.test\r\n250 STARTTLS\r\n",
            Some("220 go on\r\n250 AUTH PLAIN\r\n"),
            "the mail server went on talking before TLS began",
        ),
    ];
    for (offer, after, expected) in cases {
        let (listener, port) = listen().await;
        let server = async {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            let start = [("", "220 ready\r\n"), ("EHLO", offer)];
            speak(&mut stream, &start).await;
            if let Some(after) = after {
                speak(&mut stream, &[("STARTTLS", after)]).await;
            }
            let mut rest = Vec::new();
            // What is left unread resets the connection.
            let _ended = stream.read_to_end(&mut rest).await;
            rest
        };
        let channel = mail(port, MailTls::StartTls, true);
        let (delivery, rest) = tokio::join!(tell(channel, rustls::RootCertStore::empty()), server);
        assert_eq!(delivery.error.as_deref(), Some(expected));
        assert_eq!(rest, b"");
    }
}

#[tokio::test]
async fn a_stranger_with_a_certificate_of_its_own_is_told_nothing() {
    let (listener, port) = listen().await;
    let (acceptor, _) = certificates();
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        assert!(acceptor.accept(stream).await.is_err());
    };
    let (_, others) = certificates();
    let (delivery, ()) = tokio::join!(tell(mail(port, MailTls::Implicit, true), others), server);
    assert!(delivery.error.unwrap().starts_with("TLS with mail.test failed"), "not trusted");
}
