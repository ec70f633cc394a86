//! What things are called: the one place that knows OpenTelemetry's semantic conventions. When they
//! change, this file and its version do.
//!
//! Those for generative AI are in development and may rename what stands here:
//! <https://github.com/open-telemetry/semantic-conventions-genai>. Taken from there as they were
//! with the general conventions 1.41.1: providers by `gen_ai.provider.name`, tokens of calls as
//! histograms.

use std::borrow::Cow;

use crate::llm::usage::Usage;
use crate::record::{Outcome, Record};

/// The release of the conventions this mapping follows; sent along with everything.
pub(super) const VERSION: &str = "1.41.1";

pub(super) const SERVICE_NAME: &str = "service.name";
pub(super) const SERVICE_VERSION: &str = "service.version";
pub(super) const SERVICE_INSTANCE: &str = "service.instance.id";
pub(super) const HOST_NAME: &str = "host.name";
pub(super) const ENVIRONMENT: &str = "deployment.environment.name";

pub(super) const OPERATION: &str = "gen_ai.operation.name";
pub(super) const PROVIDER: &str = "gen_ai.provider.name";
pub(super) const REQUEST_MODEL: &str = "gen_ai.request.model";
pub(super) const RESPONSE_MODEL: &str = "gen_ai.response.model";
pub(super) const STREAM: &str = "gen_ai.request.stream";
pub(super) const FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
pub(super) const AGENT_NAME: &str = "gen_ai.agent.name";
pub(super) const TOKEN_TYPE: &str = "gen_ai.token.type";
pub(super) const SERVER_ADDRESS: &str = "server.address";
pub(super) const ERROR_TYPE: &str = "error.type";
pub(super) const STATUS_CODE: &str = "http.response.status_code";
pub(super) const RESEND_COUNT: &str = "http.request.resend_count";

pub(super) const PID: &str = "process.pid";
pub(super) const EXECUTABLE: &str = "process.executable.path";
pub(super) const OWNER: &str = "process.owner";
pub(super) const USER_ID: &str = "process.real_user.id";

/// On the series that stands for all that are too many.
pub(super) const OVERFLOW: &str = "otel.metric.overflow";

pub(super) const TOKEN_USAGE: &str = "gen_ai.client.token.usage";
pub(super) const DURATION: &str = "gen_ai.client.operation.duration";

/// Bounds of the buckets of [`TOKEN_USAGE`].
pub(super) const TOKEN_BOUNDS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// Bounds of the buckets of [`DURATION`], in seconds.
pub(super) const SECOND_BOUNDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

// What the conventions have no word for.
pub(super) const CONVENTIONS: &str = "weir.semconv.version";
pub(super) const CALL_ID: &str = "weir.call_id";
pub(super) const WORKLOAD: &str = "weir.workload";
pub(super) const TEAM: &str = "weir.team";
pub(super) const KIND: &str = "weir.kind";
pub(super) const OUTCOME: &str = "weir.outcome";
pub(super) const COST_USD: &str = "weir.cost_usd";
pub(super) const BILLING: &str = "weir.billing";
pub(super) const USAGE_SOURCE: &str = "weir.usage_source";
pub(super) const RETRY_OF: &str = "weir.retry_of";
/// The part of the agent that said something.
pub(super) const TARGET: &str = "weir.target";
pub(super) const POLICY: &str = "weir.policy";
pub(super) const ACTION: &str = "weir.action";
/// A sum, in dollars.
pub(super) const COST: &str = "weir.cost";
pub(super) const FIRST_TOKEN_EVENT: &str = "weir.first_token";
pub(super) const DECISION_EVENT: &str = "weir.decision";
pub(super) const CALL_EVENT: &str = "weir.call";

/// The conventions' word for one of our operations; our own where they have none. Ours are a few
/// words, whatever the record says.
pub(super) fn operation(ours: &str) -> &'static str {
    match ours {
        "chat" | "responses" | "messages" => "chat",
        "completions" => "text_completion",
        "embeddings" => "embeddings",
        "generate_content" => "generate_content",
        "batches" => "batches",
        "images" => "images",
        "audio" => "audio",
        "realtime" => "realtime",
        "files" => "files",
        _ => "other",
    }
}

/// The conventions' word for a provider; our own where they have none.
pub(super) fn provider(ours: &str) -> &str {
    match ours {
        "gemini" => "gcp.gemini",
        "mistral" => "mistral_ai",
        "x-ai" => "x_ai",
        "moonshotai" => "moonshot_ai",
        // Its hosts in several regions.
        other if other.starts_with("openai-") => "openai",
        other => other,
    }
}

/// The class of a failure; `None` for what went well. A provider's own answer is told by its
/// status, as is usual for HTTP.
pub(super) fn error_type(outcome: Outcome, status: Option<u16>) -> Option<Cow<'static, str>> {
    match (outcome, status) {
        (Outcome::Ok, _) => None,
        (Outcome::UpstreamError | Outcome::RateLimited, Some(status)) => {
            Some(status.to_string().into())
        }
        (other, _) => Some(outcome_word(other).into()),
    }
}

/// As records have it.
pub(super) fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::UpstreamError => "upstream_error",
        Outcome::RateLimited => "rate_limited",
        Outcome::StreamError => "stream_error",
        Outcome::ConnectError => "connect_error",
        Outcome::UpstreamCut => "upstream_cut",
        Outcome::ClientAbort => "client_abort",
        Outcome::Refused => "refused",
        Outcome::Internal => "internal",
        Outcome::Lost => "lost",
    }
}

/// `chat gpt-4o-mini`, in parts; the operation alone where no model is known.
pub(super) fn span_name(record: &Record) -> [Cow<'_, str>; 3] {
    let operation = operation(&record.operation).into();
    match &record.model {
        Some(model) => [operation, " ".into(), super::attributes::shown(model)],
        None => [operation, "".into(), "".into()],
    }
}

/// Tokens as the conventions count them: ours are disjoint, theirs are all of the input with what
/// of it came from a cache, and all of the output with what of it was reasoning.
pub(super) fn tokens(usage: &Usage) -> [(&'static str, u64); 7] {
    let written = usage.cache_write_5m.saturating_add(usage.cache_write_1h);
    [
        ("gen_ai.usage.input_tokens", input(usage)),
        ("gen_ai.usage.output_tokens", output(usage)),
        ("gen_ai.usage.cache_read.input_tokens", usage.cache_read),
        ("gen_ai.usage.cache_creation.input_tokens", written),
        ("gen_ai.usage.reasoning.output_tokens", usage.reasoning),
        ("gen_ai.usage.audio.input_tokens", usage.audio_input),
        ("gen_ai.usage.audio.output_tokens", usage.audio_output),
    ]
}

/// All input.
pub(super) fn input(usage: &Usage) -> u64 {
    let kinds = [usage.cache_read, usage.cache_write_5m, usage.cache_write_1h, usage.audio_input];
    kinds.into_iter().fold(usage.input, u64::saturating_add)
}

/// All output.
pub(super) fn output(usage: &Usage) -> u64 {
    usage.output.saturating_add(usage.reasoning).saturating_add(usage.audio_output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_and_providers_have_the_conventions_words() {
        for (ours, theirs) in [
            ("chat", "chat"),
            ("responses", "chat"),
            ("messages", "chat"),
            ("completions", "text_completion"),
            ("embeddings", "embeddings"),
            ("generate_content", "generate_content"),
            ("images", "images"),
            ("anything", "other"),
        ] {
            assert_eq!(operation(ours), theirs);
        }
        for (ours, theirs) in [
            ("openai", "openai"),
            ("openai-eu", "openai"),
            ("anthropic", "anthropic"),
            ("gemini", "gcp.gemini"),
            ("mistral", "mistral_ai"),
            ("x-ai", "x_ai"),
            ("moonshotai", "moonshot_ai"),
            ("deepseek", "deepseek"),
            ("groq", "groq"),
            ("cohere", "cohere"),
            ("perplexity", "perplexity"),
            ("our-own", "our-own"),
        ] {
            assert_eq!(provider(ours), theirs);
        }
    }

    #[test]
    fn failures_are_told_apart() {
        for (outcome, status, expected) in [
            (Outcome::Ok, Some(200), None),
            (Outcome::UpstreamError, Some(500), Some("500")),
            (Outcome::RateLimited, Some(429), Some("429")),
            (Outcome::UpstreamError, None, Some("upstream_error")),
            (Outcome::Refused, Some(429), Some("refused")),
            (Outcome::ConnectError, Some(502), Some("connect_error")),
            (Outcome::ClientAbort, None, Some("client_abort")),
        ] {
            assert_eq!(error_type(outcome, status).as_deref(), expected, "{outcome:?}");
        }
    }

    #[test]
    fn outcomes_have_the_words_of_records() {
        for outcome in [
            Outcome::Ok,
            Outcome::UpstreamError,
            Outcome::RateLimited,
            Outcome::StreamError,
            Outcome::ConnectError,
            Outcome::UpstreamCut,
            Outcome::ClientAbort,
            Outcome::Refused,
            Outcome::Internal,
            Outcome::Lost,
        ] {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome_word(outcome));
        }
    }

    #[test]
    fn tokens_of_parts_are_within_the_whole() {
        let usage = Usage {
            input: 1,
            cache_read: 10,
            cache_write_5m: 100,
            cache_write_1h: 1_000,
            output: 10_000,
            reasoning: 100_000,
            audio_input: 1_000_000,
            audio_output: 10_000_000,
        };
        let counts = tokens(&usage).map(|(_, count)| count);
        assert_eq!(counts, [1_001_111, 10_110_000, 10, 1_100, 100_000, 1_000_000, 10_000_000]);
        assert_eq!(input(&usage) + output(&usage), usage.total());
    }
}
