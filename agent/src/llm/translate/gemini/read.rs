//! A request for content, read.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::schema::to_json_schema;
use crate::llm::translate::Feature;
use crate::llm::translate::doc::{Members, Node, is_camel};
use crate::llm::translate::ids;
use crate::llm::translate::ir::{
    Answer, Call, Choice, Effort, Media, MediaKind, Output, Part, Request, Role, Source, Thinking,
    Tool, Turn,
};

/// Reads a request; `None` where it has no contents.
pub(in crate::llm::translate) fn request(body: Node<'_>) -> Option<Request> {
    let fields = body.members();
    let mut reader = Reader::default();
    if let Some(system) = fields.camel("systemInstruction") {
        reader.turn(system, Role::System);
    }
    let contents = fields.get("contents")?;
    // One content may stand without a list.
    let contents = if contents.is_object() { vec![contents] } else { contents.items() };
    for content in contents {
        let role = match content.get("role").and_then(Node::text).as_deref() {
            Some("model") => Role::Assistant,
            _ => Role::User,
        };
        reader.turn(content, role);
    }
    let mut request = reader.request;
    for (name, value) in fields.iter() {
        field(name, value, &mut request);
    }
    Some(request)
}

fn field(name: &str, value: Node<'_>, request: &mut Request) {
    let is = |key| is_camel(name, key);
    match name {
        "contents" | "model" | "labels" => {}
        "tools" => tools(value, request),
        _ if is("systemInstruction") => {}
        _ if is("toolConfig") => tool_config(value, request),
        _ if is("generationConfig") => {
            for (name, value) in value.members().iter() {
                setting(name, value, request);
            }
        }
        _ if is("safetySettings") => {
            request.lost.add_if(!value.items().is_empty(), Feature::Safety);
        }
        _ if is("cachedContent") => request.lost.add(Feature::StatefulConversation),
        _ => request.lost.add(Feature::Unknown),
    }
}

fn setting(name: &str, value: Node<'_>, request: &mut Request) {
    let number = || value.number().map(|_| value.raw().to_owned());
    let is_zero = || value.number().is_none_or(|number| number == 0.0);
    let is = |key| is_camel(name, key);
    let lost = &mut request.lost;
    match name {
        "temperature" => request.temperature = number(),
        "seed" => request.seed = number(),
        "logprobs" => lost.add_if(!is_zero(), Feature::Logprobs),
        _ if is("topP") => request.top_p = number(),
        _ if is("topK") => request.top_k = number(),
        _ if is("maxOutputTokens") => request.max_output = value.count(),
        _ if is("stopSequences") => {
            let items = value.items();
            request.stop =
                items.iter().filter_map(|stop| stop.text()).map(Cow::into_owned).collect();
        }
        _ if is("candidateCount") => {
            lost.add_if(value.count() != Some(1), Feature::MultipleChoices);
        }
        _ if is("presencePenalty") && !is_zero() => request.presence_penalty = number(),
        _ if is("frequencyPenalty") && !is_zero() => request.frequency_penalty = number(),
        _ if is("presencePenalty") || is("frequencyPenalty") => {}
        _ if is("responseMimeType") => match value.text().as_deref() {
            Some("application/json") if matches!(request.output, Output::Text) => {
                request.output = Output::Json;
            }
            Some("application/json" | "text/plain") => {}
            _ => lost.add(Feature::Unknown),
        },
        _ if is("responseSchema") => {
            let schema = to_json_schema(value);
            request.output = Output::Schema { name: None, schema, strict: false };
        }
        _ if is("responseJsonSchema") => {
            let schema = value.raw().to_owned();
            request.output = Output::Schema { name: None, schema, strict: false };
        }
        _ if is("responseLogprobs") => {
            lost.add_if(value.boolean() == Some(true), Feature::Logprobs);
        }
        _ if is("thinkingConfig") => request.thinking = thinking(&value.members()),
        _ if is("responseModalities") => {
            let text = |item: &Node<'_>| item.text().as_deref() == Some("TEXT");
            lost.add_if(!value.items().iter().all(text), Feature::Audio);
        }
        _ if is("speechConfig") => lost.add(Feature::Audio),
        _ => lost.add(Feature::Unknown),
    }
}

fn thinking(config: &Members<'_>) -> Option<Thinking> {
    if let Some(level) = config.camel("thinkingLevel").and_then(Node::text) {
        return Effort::of_word(&level.to_ascii_lowercase()).map(Thinking::Effort);
    }
    let budget = config.camel("thinkingBudget")?;
    // -1 leaves it to the model.
    Some(match budget.count() {
        Some(0) => Thinking::Off,
        Some(tokens) => Thinking::Budget(tokens),
        None => Thinking::Free,
    })
}

fn tools(value: Node<'_>, request: &mut Request) {
    for tool in value.items() {
        for (name, value) in tool.members().iter() {
            if !is_camel(name, "functionDeclarations") {
                request.lost.add(Feature::ServerTools);
                continue;
            }
            for function in value.items() {
                let function = function.members();
                let own = function.get("parameters").map(to_json_schema);
                let schema = function.camel("parametersJsonSchema");
                let Some(name) = function.text("name") else { continue };
                request.tools.push(Tool {
                    name: name.into_owned(),
                    description: function.text("description").map(Cow::into_owned),
                    schema: schema.map(|schema| schema.raw().to_owned()).or(own),
                    strict: false,
                });
            }
        }
    }
}

fn tool_config(value: Node<'_>, request: &mut Request) {
    let Some(config) = value.members().camel("functionCallingConfig") else { return };
    let config = config.members();
    let allowed = config.camel("allowedFunctionNames").map(Node::items).unwrap_or_default();
    let allowed: Vec<_> = allowed.into_iter().filter_map(Node::text).collect();
    request.choice = match (config.text("mode").as_deref(), &allowed[..]) {
        (Some("ANY"), [one]) => Some(Choice::Tool(one.clone().into_owned())),
        (Some("ANY"), []) => Some(Choice::Any),
        (Some("NONE"), _) => Some(Choice::None),
        (Some("AUTO" | "VALIDATED"), []) => Some(Choice::Auto),
        (None, _) => None,
        _ => {
            request.lost.add(Feature::ToolChoice);
            Some(Choice::Any)
        }
    };
}

/// Reads contents, and gives calls the ids they don't have: the same for the same history.
#[derive(Default)]
struct Reader {
    request: Request,
    calls: usize,
    /// Calls without an answer: name and id.
    open: VecDeque<(String, String)>,
}

impl Reader {
    fn turn(&mut self, content: Node<'_>, role: Role) {
        // Instructions may be a bare string.
        if let Some(text) = content.text() {
            let parts = vec![Part::Text(text.into_owned())];
            self.request.turns.push(Turn { role, parts });
            return;
        }
        let parts = content
            .get("parts")
            .map(|parts| if parts.is_object() { vec![parts] } else { parts.items() });
        let parts = parts.unwrap_or_default();
        let parts = parts.into_iter().filter_map(|part| self.part(&part.members())).collect();
        self.request.turns.push(Turn { role, parts });
    }

    fn part(&mut self, part: &Members<'_>) -> Option<Part> {
        let lost = &mut self.request.lost;
        lost.add_if(part.camel("thoughtSignature").is_some(), Feature::SignedThinking);
        if part.get("thought").and_then(Node::boolean) == Some(true) {
            return None;
        }
        if let Some(text) = part.text("text") {
            return Some(Part::Text(text.into_owned()));
        }
        if let Some(call) = part.camel("functionCall") {
            let call = call.members();
            let name = call.text("name")?.into_owned();
            self.calls += 1;
            let id = match call.text("id") {
                Some(id) => id.into_owned(),
                None => ids::made(&[&self.calls.to_string(), &name]),
            };
            self.open.push_back((name.clone(), id.clone()));
            let arguments = call.get("args").map_or("{}", Node::raw).to_owned();
            return Some(Part::Call(Call { id, name, arguments }));
        }
        if let Some(response) = part.camel("functionResponse") {
            return self.answer(&response.members()).map(Part::Result);
        }
        if let Some(data) = part.camel("inlineData") {
            let data = data.members();
            let media_type = data.camel("mimeType")?.text()?.into_owned();
            let kind = MediaKind::of_type(&media_type);
            let data = data.text("data")?.into_owned();
            let source = Source::Base64 { media_type, data };
            return Some(Part::Media(Media { kind, source, name: None }));
        }
        match part.camel("fileData") {
            Some(_) => lost.add(Feature::StatefulConversation),
            None => lost.add_if(!part.is_empty(), unknown(part)),
        }
        None
    }

    /// An answer, which belongs to the first open call of its name, unless it says more.
    fn answer(&mut self, response: &Members<'_>) -> Option<Answer> {
        let name = response.text("name")?.into_owned();
        let given = response.text("id").map(Cow::into_owned);
        let is_it = |(open, id): &(String, String)| match &given {
            Some(given) => id == given,
            None => *open == name,
        };
        let at = self.open.iter().position(is_it);
        let found = at.and_then(|at| self.open.remove(at)).map(|(_, id)| id);
        let id = given.or(found).unwrap_or_else(|| ids::made(&["?", &name]));
        self.request.lost.add_if(response.get("parts").is_some(), Feature::Images);
        let (text, is_error) = response.get("response").map(said).unwrap_or_default();
        Some(Answer { id, name: Some(name), text, media: Vec::new(), is_error })
    }
}

/// What a tool said: the text where there is nothing else, else all of it as JSON.
fn said(response: Node<'_>) -> (String, bool) {
    let fields = response.members();
    let mut members = fields.iter();
    if let (Some((key @ ("output" | "result" | "error"), value)), None) =
        (members.next(), members.next())
    {
        let text = value.text().map_or_else(|| value.raw().to_owned(), Cow::into_owned);
        return (text, key == "error");
    }
    (response.raw().to_owned(), false)
}

fn unknown(part: &Members<'_>) -> Feature {
    let is_code = part.camel("executableCode").or(part.camel("codeExecutionResult")).is_some();
    if is_code { Feature::ServerTools } else { Feature::Unknown }
}
