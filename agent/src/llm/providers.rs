//! The providers known by host: what they speak and where their prices stand.

use std::sync::Arc;

/// The wire format a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `OpenAI`'s, which many others speak too.
    OpenAi,
    /// Anthropic's.
    Anthropic,
    /// Gemini's.
    Gemini,
}

/// Where a provider is reached when the client did not name a host itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Host name or address, lower case.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
    /// What stands before `/v1` in every path, such as `/openai`; often empty.
    pub prefix: Arc<str>,
}

/// One provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its name in records, metrics and the gateway's paths.
    pub name: Arc<str>,
    /// Its hosts, exact and in lower case.
    pub hosts: Vec<Arc<str>>,
    /// What it speaks.
    pub format: Format,
    /// Where the gateway reaches it.
    pub base: Base,
    /// Whether it documents `stream_options.include_usage`, so that the agent may ask for the
    /// usage of a stream whose client did not. Providers that always send it need no asking.
    pub inject_usage: bool,
    /// Whether its calls cost nothing (a local model).
    pub free: bool,
    /// Its id in the price catalogue.
    pub prices: Option<Arc<str>>,
}

/// The providers in use.
#[derive(Debug, Clone)]
pub struct Providers {
    list: Vec<Arc<Provider>>,
}

/// Name, host, prefix, catalogue id (empty where the catalogue has none) and whether usage is asked
/// for.
type Row = (&'static str, &'static str, &'static str, &'static str, bool);

/// Those that speak `OpenAI`'s format.
///
/// `OpenAI`'s regional hosts (its data residency guide) are providers of their own because they
/// cost more. `DeepSeek` documents `include_usage`; the others send usage unasked.
const OPENAI_FORMAT: [Row; 36] = [
    ("openai", "api.openai.com", "", "openai", true),
    ("openai-us", "us.api.openai.com", "", "openai", true),
    ("openai-eu", "eu.api.openai.com", "", "openai", true),
    ("openai-ae", "ae.api.openai.com", "", "openai", true),
    ("openai-au", "au.api.openai.com", "", "openai", true),
    ("openai-in", "in.api.openai.com", "", "openai", true),
    ("openai-jp", "jp.api.openai.com", "", "openai", true),
    ("mistral", "api.mistral.ai", "", "mistral", false),
    ("deepseek", "api.deepseek.com", "", "deepseek", true),
    ("groq", "api.groq.com", "/openai", "groq", false),
    ("x-ai", "api.x.ai", "", "x-ai", false),
    ("openrouter", "openrouter.ai", "/api", "openrouter", false),
    ("together", "api.together.xyz", "", "together", false),
    ("fireworks", "api.fireworks.ai", "/inference", "fireworks", false),
    ("cerebras", "api.cerebras.ai", "", "cerebras", false),
    ("moonshotai", "api.moonshot.ai", "", "moonshotai", false),
    // Answers below `/chat/completions`, without a version.
    ("perplexity", "api.perplexity.ai", "", "perplexity", false),
    ("cohere", "api.cohere.ai", "/compatibility", "cohere", false),
    ("minimax", "api.minimax.io", "", "minimax", false),
    // These two answer below `/api/paas/v4`, which a base URL has to name.
    ("zai", "api.z.ai", "", "zai", false),
    ("zhipuai", "open.bigmodel.cn", "", "zhipuai", false),
    ("novita", "api.novita.ai", "/openai", "novita", false),
    ("baseten", "inference.baseten.co", "", "baseten", false),
    ("avian", "api.avian.io", "", "avian", false),
    ("ovhcloud", "oai.endpoints.kepler.ai.cloud.ovh.net", "", "ovhcloud", false),
    ("dashscope", "dashscope-intl.aliyuncs.com", "/compatible-mode", "", false),
    ("nvidia", "integrate.api.nvidia.com", "", "", false),
    // Answers below `/v1/openai`, which a base URL has to name.
    ("deepinfra", "api.deepinfra.com", "", "", false),
    ("sambanova", "api.sambanova.ai", "", "", false),
    ("hyperbolic", "api.hyperbolic.xyz", "", "", false),
    ("nebius", "api.tokenfactory.nebius.com", "", "", false),
    ("huggingface", "router.huggingface.co", "", "", false),
    ("vercel", "ai-gateway.vercel.sh", "", "", false),
    ("scaleway", "api.scaleway.ai", "", "", false),
    ("chutes", "llm.chutes.ai", "", "", false),
    ("github-models", "models.github.ai", "", "", false),
];

/// Further hosts of providers in the table.
const MORE_HOSTS: [(&str, &str); 5] = [
    ("cohere", "api.cohere.com"),
    ("dashscope", "dashscope.aliyuncs.com"),
    ("moonshotai", "api.moonshot.cn"),
    ("minimax", "api.minimaxi.com"),
    ("nebius", "api.studio.nebius.com"),
];

impl Providers {
    /// The providers every installation knows.
    pub fn builtin() -> Self {
        let mut list: Vec<_> =
            OPENAI_FORMAT.iter().map(|row| Arc::new(openai_format(*row))).collect();
        list.insert(1, Arc::new(anthropic()));
        list.insert(2, Arc::new(gemini()));
        list.push(Arc::new(ollama()));
        Self { list }
    }

    /// Adds the configuration's own; one with a known name takes the place of that provider.
    #[must_use]
    pub fn with(mut self, overrides: Vec<Provider>) -> Self {
        for provider in overrides.into_iter().map(Arc::new) {
            match self.list.iter_mut().find(|known| known.name == provider.name) {
                Some(known) => *known = provider,
                None => self.list.push(provider),
            }
        }
        self
    }

    /// The provider at a host, in any case. Of two that claim it, the one listed last: the
    /// configuration's own stand after the builtin ones.
    pub fn by_host(&self, host: &str) -> Option<&Arc<Provider>> {
        let has = |known: &Arc<str>| known.eq_ignore_ascii_case(host);
        self.list.iter().rev().find(|provider| provider.hosts.iter().any(has))
    }

    /// The provider of a name.
    pub fn by_name(&self, name: &str) -> Option<&Arc<Provider>> {
        self.list.iter().find(|provider| *provider.name == *name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.list.iter()
    }

    /// All their hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<str>> {
        self.list.iter().flat_map(|provider| &provider.hosts)
    }

    /// The provider meant by a request to the gateway's plain `/v1/…`, which names none: by the
    /// path where only one has it, else by the model. A model of no known family means none.
    pub fn for_gateway(&self, path: &str, model: Option<&str>) -> Option<&Arc<Provider>> {
        let starts = |stem: &&str| path.starts_with(*stem);
        if ["/v1/messages", "/v1/complete?"].iter().any(starts) || path == "/v1/complete" {
            return self.by_name("anthropic");
        }
        if path.starts_with("/v1beta/") {
            return self.by_name("gemini");
        }
        let Some(model) = model else { return self.by_name("openai") };
        // Gemini's own paths do not begin like that.
        self.of_model(model).filter(|provider| provider.format != Format::Gemini)
    }

    /// The provider whose models are named like this one; none where the name tells nothing.
    pub fn of_model(&self, model: &str) -> Option<&Arc<Provider>> {
        let family = |(stem, name): &(&str, &str)| {
            let start = model.get(..stem.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(stem)).then(|| (*name).to_owned())
        };
        self.by_name(&FAMILIES.iter().find_map(family)?)
    }
}

/// How the names of models begin, and whose they are.
const FAMILIES: [(&str, &str); 25] = [
    ("claude-", "anthropic"),
    ("gpt-", "openai"),
    ("chatgpt-", "openai"),
    ("chat-latest", "openai"),
    ("ft:", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("codex-", "openai"),
    ("computer-use-", "openai"),
    ("text-embedding-", "openai"),
    ("text-davinci-", "openai"),
    ("davinci-", "openai"),
    ("babbage-", "openai"),
    ("mistral-", "mistral"),
    ("magistral-", "mistral"),
    ("ministral-", "mistral"),
    ("codestral-", "mistral"),
    ("devstral-", "mistral"),
    ("pixtral-", "mistral"),
    ("deepseek-", "deepseek"),
    ("gemini-", "gemini"),
    ("grok-", "x-ai"),
    ("kimi-", "moonshotai"),
    ("moonshot-", "moonshotai"),
];

fn openai_format((name, host, prefix, prices, inject_usage): Row) -> Provider {
    let host: Arc<str> = host.into();
    let more =
        MORE_HOSTS.iter().filter(|(whose, _)| *whose == name).map(|(_, host)| (*host).into());
    Provider {
        name: name.into(),
        hosts: std::iter::once(Arc::clone(&host)).chain(more).collect(),
        format: Format::OpenAi,
        base: Base { tls: true, host, port: 443, prefix: prefix.into() },
        inject_usage,
        free: false,
        prices: Some(prices).filter(|id| !id.is_empty()).map(Into::into),
    }
}

fn anthropic() -> Provider {
    let row = ("anthropic", "api.anthropic.com", "", "anthropic", false);
    Provider { format: Format::Anthropic, ..openai_format(row) }
}

fn gemini() -> Provider {
    let row = ("gemini", "generativelanguage.googleapis.com", "", "google", false);
    Provider { format: Format::Gemini, ..openai_format(row) }
}

/// A model on this host: reached by its name only, in plain HTTP, as its loopback address means a
/// different thing in every namespace.
fn ollama() -> Provider {
    let host: Arc<str> = "127.0.0.1".into();
    Provider {
        hosts: Vec::new(),
        base: Base { tls: false, host, port: 11_434, prefix: "".into() },
        inject_usage: true,
        free: true,
        ..openai_format(("ollama", "", "", "", true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_means_one_provider() {
        let providers = Providers::builtin();
        assert_eq!(&*providers.by_host("API.OpenAI.com").unwrap().name, "openai");
        assert_eq!(&*providers.by_host("eu.api.openai.com").unwrap().name, "openai-eu");
        assert_eq!(providers.by_host("api.anthropic.com").unwrap().format, Format::Anthropic);
        for host in ["openai.com", "api.openai.com.evil.example", "xapi.openai.com", ""] {
            assert!(providers.by_host(host).is_none(), "{host}");
        }
        let hosts: std::collections::HashSet<_> = providers.hosts().collect();
        assert_eq!(hosts.len(), providers.hosts().count());
    }

    #[test]
    fn a_local_model_is_known_by_name_only_and_free() {
        let providers = Providers::builtin();
        let ollama = providers.by_name("ollama").unwrap();
        assert!(ollama.free && !ollama.base.tls && ollama.hosts.is_empty());
        assert!(providers.by_host("127.0.0.1").is_none());
    }

    #[test]
    fn every_price_list_named_exists() {
        let prices = crate::llm::price::Prices::embedded();
        let known: std::collections::HashSet<_> =
            prices.models().map(|listed| listed.provider.to_owned()).collect();
        for provider in Providers::builtin().iter() {
            let named = provider.prices.as_deref();
            assert!(named.is_none_or(|id| known.contains(id)), "{}", provider.name);
        }
    }

    #[test]
    fn the_configuration_replaces_by_name_and_wins_a_host() {
        let mine = |name: &str| Provider {
            name: name.into(),
            hosts: vec!["api.openai.com".into()],
            free: true,
            ..anthropic()
        };
        let replaced = Providers::builtin().with(vec![mine("openai")]);
        assert!(replaced.by_name("openai").unwrap().free);
        assert_eq!(replaced.iter().count(), Providers::builtin().iter().count());
        let added = Providers::builtin().with(vec![mine("mine")]);
        assert_eq!(&*added.by_host("api.openai.com").unwrap().name, "mine");
    }

    #[test]
    fn the_gateway_finds_a_provider_by_path_then_by_model() {
        let providers = Providers::builtin();
        let found = |path, model| {
            providers.for_gateway(path, model).map(|provider| provider.name.to_string())
        };
        assert_eq!(found("/v1/messages", Some("gpt-5")).as_deref(), Some("anthropic"));
        assert_eq!(found("/v1/messages/count_tokens", None).as_deref(), Some("anthropic"));
        assert_eq!(found("/v1/chat/completions", Some("gpt-5")).as_deref(), Some("openai"));
        assert_eq!(
            found("/v1/chat/completions", Some("Claude-opus-5")).as_deref(),
            Some("anthropic")
        );
        assert_eq!(found("/v1/responses", Some("o3-mini")).as_deref(), Some("openai"));
        assert_eq!(found("/v1/chat/completions", Some("grok-4.7")).as_deref(), Some("x-ai"));
        assert_eq!(
            found("/v1beta/models/gemini-2.5-pro:generateContent", None).as_deref(),
            Some("gemini")
        );
        assert_eq!(found("/v1/models", None).as_deref(), Some("openai"));
        assert_eq!(found("/v1/chat/completions", Some("gemini-2.5-flash")), None);
        assert_eq!(&*providers.of_model("gemini-2.5-flash").unwrap().name, "gemini");
        assert_eq!(found("/v1/chat/completions", Some("llama3")), None);
        assert_eq!(found("/v1/chat/completions", Some("é")), None);
    }
}
