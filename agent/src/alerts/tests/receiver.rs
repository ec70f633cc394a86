//! The other end of a channel: takes requests down and answers as it is told.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A request as a receiver sees it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A receiver that answers with these heads in turn, and then with the last one.
pub(super) struct Receiver {
    pub(super) url: String,
    pub(super) seen: mpsc::UnboundedReceiver<Seen>,
    // Ends the receiver with the test.
    _tasks: tokio::task::JoinSet<()>,
}

impl Receiver {
    pub(super) async fn start(answers: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://hooks.test:{}/x?y", listener.local_addr().unwrap().port());
        let (tell, seen) = mpsc::unbounded_channel();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            for number in 0.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                tell.send(read(&mut stream).await).unwrap();
                let answer = answers[number.min(answers.len() - 1)];
                let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { url, seen, _tasks: tasks }
    }
}

pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Seen {
    let mut bytes = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut seen = Seen { head, body: bytes[end + 4..].to_vec() };
        let length: usize = seen.header("content-length").unwrap().parse().unwrap();
        while seen.body.len() < length {
            assert_ne!(stream.read_buf(&mut seen.body).await.unwrap(), 0);
        }
        return seen;
    }
}
