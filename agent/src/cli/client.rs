//! Asking the running agent: HTTP over its unix socket.

use std::io::ErrorKind;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::{Ctx, Exit, Fault};
use crate::admin::ProblemDetails;
use crate::drain::Drain;

/// A connection to the agent.
#[derive(Debug)]
pub(super) struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
}

impl Client {
    /// Connects to the user's own agent, or else to the host's.
    pub(super) async fn connect(ctx: &Ctx) -> anyhow::Result<Self> {
        let mut denied = None;
        for path in ctx.paths.sockets() {
            let stream = match UnixStream::connect(&path).await {
                Ok(stream) => stream,
                Err(fault) if fault.kind() == ErrorKind::PermissionDenied => {
                    denied = Some(path);
                    continue;
                }
                Err(_) => continue,
            };
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // It ends with the sender; what goes wrong on it, requests report.
            drop(Drain::new().spawn(connection));
            return Ok(Self { sender });
        }
        Err(match denied {
            Some(path) => Fault {
                exit: Exit::Permission,
                what: format!("{}: permission denied", path.display()),
                fix: None,
            },
            None => Fault {
                exit: Exit::NoDaemon,
                what: format!("no agent answers on {}", ctx.paths.socket().display()),
                fix: Some("start it: systemctl start weir, or: weir daemon".to_owned()),
            },
        }
        .into())
    }

    /// Reads a value. `query` is a struct of parameters; absent ones are left out.
    pub(super) async fn get<T: DeserializeOwned>(
        &mut self,
        path: &str,
        query: &impl Serialize,
    ) -> anyhow::Result<T> {
        let uri = format!("{path}{}", parameters(&serde_json::to_value(query)?));
        let answer = self.send(Method::GET, &uri, Bytes::new()).await?;
        Ok(serde_json::from_slice(&answer.into_body().collect().await?.to_bytes())?)
    }

    /// Reads a text.
    pub(super) async fn text(&mut self, path: &str) -> anyhow::Result<String> {
        let answer = self.send(Method::GET, path, Bytes::new()).await?;
        let body = answer.into_body().collect().await?.to_bytes();
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Changes something, and reads what it is now.
    pub(super) async fn put<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let body = Bytes::from(serde_json::to_vec(body)?);
        let answer = self.send(Method::PUT, path, body).await?;
        Ok(serde_json::from_slice(&answer.into_body().collect().await?.to_bytes())?)
    }

    /// Makes something, and reads what was made.
    pub(super) async fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let body = Bytes::from(serde_json::to_vec(body)?);
        let answer = self.send(Method::POST, path, body).await?;
        Ok(serde_json::from_slice(&answer.into_body().collect().await?.to_bytes())?)
    }

    /// Reads lines of JSON for as long as there are any.
    pub(super) async fn lines(
        &mut self,
        path: &str,
        query: &impl Serialize,
    ) -> anyhow::Result<Lines> {
        let uri = format!("{path}{}", parameters(&serde_json::to_value(query)?));
        let answer = self.send(Method::GET, &uri, Bytes::new()).await?;
        Ok(Lines { body: answer.into_body(), read: BytesMut::new() })
    }

    async fn send(
        &mut self,
        method: Method,
        uri: &str,
        body: Bytes,
    ) -> anyhow::Result<hyper::Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("host", "weir")
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let exit = match answer.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::Permission,
            _ => Exit::Failure,
        };
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        let (what, fix) = match serde_json::from_slice::<ProblemDetails>(&body) {
            Ok(problem) => (problem.detail, problem.fix),
            Err(_) => (format!("the agent answered {status}"), None),
        };
        Err(Fault { exit, what, fix }.into())
    }
}

/// Lines of JSON as they arrive.
#[derive(Debug)]
pub(super) struct Lines {
    body: Incoming,
    read: BytesMut,
}

impl Lines {
    /// The next line; `None` once the agent has ended the stream.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.read) {
                return Ok(Some(self.read.split_to(end + 1).freeze()));
            }
            match self.body.frame().await {
                Some(frame) => self.read.extend(frame?.into_data().unwrap_or_default()),
                None => return Ok(None),
            }
        }
    }
}

/// `?a=1&b=2`, or nothing.
fn parameters(query: &serde_json::Value) -> String {
    let mut text = String::new();
    for (key, value) in query.as_object().into_iter().flatten() {
        let value = match value {
            serde_json::Value::Null | serde_json::Value::Bool(false) => continue,
            serde_json::Value::String(word) if word.is_empty() => continue,
            serde_json::Value::String(word) => encoded(word),
            other => encoded(&other.to_string()),
        };
        text.push(if text.is_empty() { '?' } else { '&' });
        text.extend([key, "=", &value]);
    }
    text
}

/// RFC 3986, 2.1: everything but unreserved characters.
pub(super) fn encoded(word: &str) -> String {
    let mut text = String::new();
    for byte in word.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.extend(["%", &format!("{byte:02X}")]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_encoded_and_absent_ones_left_out() {
        let query = serde_json::json!({
            "a": "exe:x y&z", "b": null, "c": false, "d": true, "e": 7, "f": "",
        });
        assert_eq!(parameters(&query), "?a=exe%3Ax%20y%26z&d=true&e=7");
        assert_eq!(parameters(&serde_json::json!({})), "");
    }
}
