//! What a translation can lose, by name.

/// Something a request uses that the other side's format, or our way into it, can't express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feature {
    /// Tools of the client's own.
    Tools,
    /// Whether several tools may be called at once.
    ParallelTools,
    /// Which tool has to be called.
    ToolChoice,
    /// Tools with a grammar instead of a schema, or with other bindings of their own.
    CustomTools,
    /// Tools the provider runs itself: search, code, files, computers, MCP.
    ServerTools,
    /// Images.
    Images,
    /// Documents and other files.
    Documents,
    /// Audio, in or out.
    Audio,
    /// Video.
    Video,
    /// An answer that follows a JSON schema.
    JsonSchema,
    /// An answer that is any JSON.
    JsonObject,
    /// How much is to be thought.
    Thinking,
    /// Earlier thoughts, signed by the provider that had them: another can't check them.
    SignedThinking,
    /// The seed of sampling.
    Seed,
    /// Probabilities of tokens.
    Logprobs,
    /// Penalties for repetition.
    Penalties,
    /// Biases of single tokens.
    LogitBias,
    /// Sampling from the most likely tokens only (`top_k`).
    TopK,
    /// Sequences at which the answer stops.
    StopSequences,
    /// Several answers to one request.
    MultipleChoices,
    /// A predicted answer.
    Prediction,
    /// A conversation, prompt or file kept by the provider.
    StatefulConversation,
    /// An answer computed in the background.
    Background,
    /// Citations of the sources given.
    Citations,
    /// The beginning of the answer, given by the client.
    Prefill,
    /// Settings of what may be said at all.
    Safety,
    /// Something we don't know.
    Unknown,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::Tools,
        Self::ParallelTools,
        Self::ToolChoice,
        Self::CustomTools,
        Self::ServerTools,
        Self::Images,
        Self::Documents,
        Self::Audio,
        Self::Video,
        Self::JsonSchema,
        Self::JsonObject,
        Self::Thinking,
        Self::SignedThinking,
        Self::Seed,
        Self::Logprobs,
        Self::Penalties,
        Self::LogitBias,
        Self::TopK,
        Self::StopSequences,
        Self::MultipleChoices,
        Self::Prediction,
        Self::StatefulConversation,
        Self::Background,
        Self::Citations,
        Self::Prefill,
        Self::Safety,
        Self::Unknown,
    ];

    /// Its name in the configuration and in decisions.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::ParallelTools => "parallel_tools",
            Self::ToolChoice => "tool_choice",
            Self::CustomTools => "custom_tools",
            Self::ServerTools => "server_tools",
            Self::Images => "images",
            Self::Documents => "documents",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::JsonSchema => "json_schema",
            Self::JsonObject => "json_object",
            Self::Thinking => "thinking",
            Self::SignedThinking => "signed_thinking",
            Self::Seed => "seed",
            Self::Logprobs => "logprobs",
            Self::Penalties => "penalties",
            Self::LogitBias => "logit_bias",
            Self::TopK => "top_k",
            Self::StopSequences => "stop_sequences",
            Self::MultipleChoices => "multiple_choices",
            Self::Prediction => "prediction",
            Self::StatefulConversation => "stateful_conversation",
            Self::Background => "background",
            Self::Citations => "citations",
            Self::Prefill => "prefill",
            Self::Safety => "safety",
            Self::Unknown => "unknown",
        }
    }

    /// The feature of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| feature.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_is_found_by_its_name() {
        for feature in Feature::ALL {
            assert_eq!(Feature::of_name(feature.as_str()), Some(feature));
        }
        assert_eq!(Feature::of_name("Tools"), None);
    }
}
