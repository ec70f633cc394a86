//! From method and path to the operation: exact matches after a known version prefix.
//!
//! Nothing passes unnoticed: a path that is not listed is [`Kind::Opaque`], recorded and governed.

use http::Method;

use super::{Kind, Operation, Route, path_model};
use crate::llm::providers::Format;

/// What may stand before the paths of `OpenAI`'s format at the providers that speak it. The empty
/// one is for hosts that also answer without a version.
const OPENAI_PREFIXES: [&str; 14] = [
    // Before `/v1`, which it begins with.
    "/v1/openai",
    "/v1",
    "/openai/v1",
    "/v3/openai",
    "/api/v1",
    "/api/paas/v4",
    "/api/coding/paas/v4",
    "/inference/v1",
    "/inference",
    "/compatibility/v1",
    "/compatible-mode/v1",
    "/v1beta/openai",
    "/beta",
    "",
];

/// What a request to a provider of this format asks for. `path` may carry a query.
pub fn classify(format: Format, method: &Method, path: &str) -> Route {
    let path = path.split('?').next().unwrap_or_default();
    let path = path.strip_suffix('/').unwrap_or(path);
    if matches!(*method, Method::HEAD | Method::OPTIONS) {
        return Route { operation: Operation::Other, kind: Kind::Request };
    }
    let known = match format {
        // Below `/api/` are settings, telemetry and sign-in of Anthropic's own clients.
        Format::Anthropic if path.starts_with("/api/") => {
            Some(Route { operation: Operation::Admin, kind: Kind::Request })
        }
        // Anthropic's host speaks both formats, and so do several of the others.
        Format::Anthropic => anthropic(method, path).or_else(|| openai(method, path)),
        Format::OpenAi => openai(method, path).or_else(|| anthropic(method, path)),
        // Google's host answers in `OpenAI`'s format below `/v1beta/openai`.
        Format::Gemini => openai_at_google(method, path).or_else(|| gemini(method, path)),
    };
    known.unwrap_or(Route { operation: Operation::Other, kind: Kind::Opaque })
}

/// The parts of a path below its version prefix.
fn below<'a>(prefixes: &[&str], path: &'a str) -> Option<impl Iterator<Item = &'a str> + Clone> {
    let below = |prefix: &&str| path.strip_prefix(*prefix)?.strip_prefix('/');
    prefixes.iter().find_map(below).map(|rest| rest.split('/'))
}

fn anthropic(method: &Method, path: &str) -> Option<Route> {
    let mut parts = below(&["/v1", "/api/v1", "/anthropic/v1"], path)?;
    let (first, second, rest) = (parts.next()?, parts.next(), parts.count());
    let post = *method == Method::POST;
    let (operation, kind) = match (first, second) {
        ("messages", None) if post => (Operation::Messages, Kind::Call),
        ("messages", Some("count_tokens")) if rest == 0 => (Operation::CountTokens, Kind::Request),
        ("messages", Some("batches")) => {
            (Operation::Batches, if post && rest == 0 { Kind::Opaque } else { Kind::Request })
        }
        ("complete", None) if post => (Operation::Completions, Kind::Opaque),
        ("models", _) => (Operation::Models, Kind::Request),
        ("files" | "skills", _) => (Operation::Files, Kind::Request),
        ("organizations", _) => (Operation::Admin, Kind::Request),
        _ => return None,
    };
    Some(Route { operation, kind })
}

fn openai(method: &Method, path: &str) -> Option<Route> {
    let mut parts = below(&OPENAI_PREFIXES, path)?;
    let (first, second, rest) = (parts.next()?, parts.next(), parts.count());
    let post = *method == Method::POST;
    // Reading, changing or deleting what is stored asks no model.
    let asked = |kind| if post { kind } else { Kind::Request };
    let (operation, kind) = match (first, second) {
        ("chat", Some("completions")) if rest == 0 && post => (Operation::Chat, Kind::Call),
        ("chat", Some("completions")) => (Operation::Chat, Kind::Request),
        ("completions", None) if post => (Operation::Completions, Kind::Call),
        ("embeddings", None) if post => (Operation::Embeddings, Kind::Call),
        ("responses", None) if post => (Operation::Responses, Kind::Call),
        // Without an id, GET opens the WebSocket form.
        ("responses", None) => (Operation::Responses, Kind::Opaque),
        ("responses", Some("input_tokens")) => (Operation::CountTokens, Kind::Request),
        ("responses", Some("compact")) if rest == 0 && post => (Operation::Responses, Kind::Call),
        ("responses", Some(_)) => (Operation::Responses, Kind::Request),
        ("models", _) => (Operation::Models, Kind::Request),
        ("moderations", None) => (Operation::Moderations, Kind::Request),
        ("files" | "uploads" | "vector_stores" | "containers" | "conversations", _) => {
            (Operation::Files, Kind::Request)
        }
        ("batches", None) => (Operation::Batches, asked(Kind::Opaque)),
        ("batches", Some(_)) => (Operation::Batches, Kind::Request),
        ("images" | "videos", _) => (Operation::Images, asked(Kind::Opaque)),
        ("audio", _) => (Operation::Audio, asked(Kind::Opaque)),
        ("realtime", _) => (Operation::Realtime, Kind::Opaque),
        ("organization" | "dashboard" | "usage" | "traces" | "me" | "auth" | "key", _) => {
            (Operation::Admin, Kind::Request)
        }
        ("credits" | "generation" | "providers", _) => (Operation::Admin, Kind::Request),
        _ => return None,
    };
    Some(Route { operation, kind })
}

fn openai_at_google(method: &Method, path: &str) -> Option<Route> {
    if path.starts_with("/v1beta/openai/") { openai(method, path) } else { None }
}

fn gemini(method: &Method, path: &str) -> Option<Route> {
    let post = *method == Method::POST;
    if let Some(asked) = path_model(path).filter(|_| post) {
        let (operation, kind) = match asked.method {
            "generateContent" | "streamGenerateContent" => (Operation::Generate, Kind::Call),
            "embedContent" | "batchEmbedContents" => (Operation::Embed, Kind::Call),
            "countTokens" => (Operation::CountTokens, Kind::Request),
            "predict" | "predictLongRunning" => (Operation::Images, Kind::Opaque),
            "batchGenerateContent" | "asyncBatchEmbedContent" => (Operation::Batches, Kind::Opaque),
            _ => return None,
        };
        return Some(Route { operation, kind });
    }
    let mut parts = below(&["/v1beta", "/v1alpha", "/v1", "/upload/v1beta"], path)?;
    // Reading, changing or deleting what is stored asks no model.
    let asked = |kind| if post { kind } else { Kind::Request };
    let (operation, kind) = match parts.next()? {
        "models" | "tunedModels" if !post => (Operation::Models, Kind::Request),
        "files" | "fileSearchStores" | "corpora" => (Operation::Files, Kind::Request),
        // What is put in a cache is billed.
        "cachedContents" => (Operation::Files, asked(Kind::Opaque)),
        "batches" | "operations" => (Operation::Batches, Kind::Request),
        _ => return None,
    };
    Some(Route { operation, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(format: Format, request: &str) -> (&'static str, Kind) {
        let (method, path) = request.split_once(' ').unwrap();
        let route = classify(format, &method.parse().unwrap(), path);
        (route.operation.as_str(), route.kind)
    }

    #[test]
    fn openai_paths() {
        let cases = [
            ("POST /v1/chat/completions", "chat", Kind::Call),
            ("POST /v1/chat/completions/?x=1", "chat", Kind::Call),
            ("POST /openai/v1/chat/completions", "chat", Kind::Call),
            ("POST /api/v1/chat/completions", "chat", Kind::Call),
            ("POST /inference/v1/completions", "completions", Kind::Call),
            ("POST /chat/completions", "chat", Kind::Call),
            ("GET /v1/chat/completions", "chat", Kind::Request),
            ("POST /v1/chat/completions/chatcmpl-1", "chat", Kind::Request),
            ("GET /v1/chat/completions/chatcmpl-1/messages", "chat", Kind::Request),
            ("POST /v1/responses", "responses", Kind::Call),
            ("POST /v1/responses/compact", "responses", Kind::Call),
            ("GET /v1/responses", "responses", Kind::Opaque),
            ("GET /v1/responses/resp_1", "responses", Kind::Request),
            ("DELETE /v1/responses/resp_1", "responses", Kind::Request),
            ("POST /v1/responses/resp_1/cancel", "responses", Kind::Request),
            ("POST /v1/responses/input_tokens", "count_tokens", Kind::Request),
            ("POST /v1/embeddings", "embeddings", Kind::Call),
            ("POST /v1/moderations", "moderations", Kind::Request),
            ("GET /v1/models", "models", Kind::Request),
            ("GET /v1/models/gpt-5", "models", Kind::Request),
            ("POST /v1/files", "files", Kind::Request),
            ("POST /v1/batches", "batches", Kind::Opaque),
            ("GET /v1/batches/b", "batches", Kind::Request),
            ("POST /v1/images/generations", "images", Kind::Opaque),
            ("POST /v1/audio/speech", "audio", Kind::Opaque),
            ("GET /v1/realtime", "realtime", Kind::Opaque),
            ("POST /v1/traces/ingest", "admin", Kind::Request),
            ("GET /v1/organization/usage/completions", "admin", Kind::Request),
            ("OPTIONS /v1/chat/completions", "other", Kind::Request),
            ("POST /v1/threads/t/runs", "other", Kind::Opaque),
            ("GET /v1/something", "other", Kind::Opaque),
            ("POST //v1/chat/completions", "other", Kind::Opaque),
            ("POST /v1/chat/completions%2f", "other", Kind::Opaque),
            ("POST /v2/chat/completions", "other", Kind::Opaque),
            ("POST /", "other", Kind::Opaque),
            ("POST /v1", "other", Kind::Opaque),
            ("POST /api/chat", "other", Kind::Opaque),
            // OpenRouter and others answer Anthropic's format beside their own.
            ("POST /api/v1/messages", "messages", Kind::Call),
            ("POST /anthropic/v1/messages", "messages", Kind::Call),
        ];
        for (request, operation, kind) in cases {
            assert_eq!(route(Format::OpenAi, request), (operation, kind), "{request}");
        }
    }

    #[test]
    fn anthropic_paths() {
        let cases = [
            ("POST /v1/messages", "messages", Kind::Call),
            ("POST /v1/messages?beta=true", "messages", Kind::Call),
            ("POST /v1/messages/count_tokens", "count_tokens", Kind::Request),
            ("POST /v1/messages/batches", "batches", Kind::Opaque),
            ("GET /v1/messages/batches", "batches", Kind::Request),
            ("POST /v1/messages/batches/b/cancel", "batches", Kind::Request),
            ("POST /v1/complete", "completions", Kind::Opaque),
            ("GET /v1/models", "models", Kind::Request),
            ("POST /v1/files", "files", Kind::Request),
            ("GET /v1/organizations/me", "admin", Kind::Request),
            ("POST /api/event_logging/batch", "admin", Kind::Request),
            ("GET /api/oauth/profile", "admin", Kind::Request),
            ("POST /v1/chat/completions", "chat", Kind::Call),
            ("GET /v1/messages", "other", Kind::Opaque),
            ("POST /v1/sessions", "other", Kind::Opaque),
        ];
        for (request, operation, kind) in cases {
            assert_eq!(route(Format::Anthropic, request), (operation, kind), "{request}");
        }
    }

    #[test]
    fn gemini_paths() {
        let cases = [
            ("POST /v1beta/models/gemini-2.5-pro:generateContent", "generate_content", Kind::Call),
            (
                "POST /v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
                "generate_content",
                Kind::Call,
            ),
            ("POST /v1/models/gemini-2.5-pro:generateContent", "generate_content", Kind::Call),
            ("POST /v1beta/models/m:countTokens", "count_tokens", Kind::Request),
            ("POST /v1beta/models/m:embedContent", "embeddings", Kind::Call),
            ("POST /v1beta/models/m:batchEmbedContents", "embeddings", Kind::Call),
            ("POST /v1beta/tunedModels/m:generateContent", "generate_content", Kind::Call),
            ("POST /v1beta/models/imagen-4:predict", "images", Kind::Opaque),
            ("POST /v1beta/models/m:batchGenerateContent", "batches", Kind::Opaque),
            ("GET /v1beta/models", "models", Kind::Request),
            ("GET /v1beta/models/gemini-2.5-pro", "models", Kind::Request),
            ("POST /upload/v1beta/files", "files", Kind::Request),
            ("POST /v1beta/cachedContents", "files", Kind::Opaque),
            ("POST /v1beta/openai/chat/completions", "chat", Kind::Call),
            ("POST /v1beta/openai/embeddings", "embeddings", Kind::Call),
            ("POST /v1beta/models/m:somethingNew", "other", Kind::Opaque),
            ("POST /v1beta/interactions", "other", Kind::Opaque),
            ("GET /v1beta/models/m:generateContent", "models", Kind::Request),
        ];
        for (request, operation, kind) in cases {
            assert_eq!(route(Format::Gemini, request), (operation, kind), "{request}");
        }
    }
}
