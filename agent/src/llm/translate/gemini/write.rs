//! A request for content, written.

use crate::llm::translate::Feature;
use crate::llm::translate::ir::{
    Answer, Choice, Effort, Lost, Media, MediaKind, Output, Part, Request, Role, Source, Thinking,
    Tool,
};
use crate::llm::translate::json::{Json, object};
use crate::llm::translate::model::{self, GeminiThinks};
use crate::llm::translate::turns::{self, Exchange};

/// Sequences at which Gemini stops.
const MOST_STOPS: usize = 5;
/// What Google documents for calls that another model made.
const UNSIGNED: &str = "skip_thought_signature_validator";

/// Writes a request for `model`, which stands in the path.
pub(in crate::llm::translate) fn request(mut request: Request, model: &str) -> (Json, Lost) {
    let mut lost = std::mem::take(&mut request.lost);
    name_answers(&mut request);
    let conversation = turns::exchanges(std::mem::take(&mut request.turns));
    let signs = model::gemini_signs(model);
    let contents = conversation.exchanges.iter();
    let contents: Vec<Json> = contents.map(|turn| content(turn, signs, &mut lost)).collect();
    let mut body = object! { "contents": contents };
    if !conversation.system.is_empty() {
        let text = conversation.system.join("\n\n");
        body.set("systemInstruction", object! { "parts": vec![object! { "text": text }] });
    }
    if !request.tools.is_empty() {
        let functions: Vec<Json> = request.tools.iter().map(tool).collect();
        body.set("tools", vec![object! { "functionDeclarations": functions }]);
        if let Some(choice) = &request.choice {
            let config = object! { "functionCallingConfig": self::choice(choice) };
            body.set("toolConfig", config);
        }
        lost.add_if(request.parallel == Some(false), Feature::ParallelTools);
    }
    let settings = settings(&mut request, model, &mut lost);
    if !matches!(&settings, Json::Object(members) if members.is_empty()) {
        body.set("generationConfig", settings);
    }
    (body, lost)
}

fn settings(request: &mut Request, model: &str, lost: &mut Lost) -> Json {
    let mut settings = object! {};
    settings.set_some("maxOutputTokens", request.max_output);
    settings.set_some("temperature", request.temperature.take().map(Json::Raw));
    settings.set_some("topP", request.top_p.take().map(Json::Raw));
    settings.set_some("topK", request.top_k.take().map(Json::Raw));
    settings.set_some("seed", request.seed.take().map(Json::Raw));
    settings.set_some("presencePenalty", request.presence_penalty.take().map(Json::Raw));
    settings.set_some("frequencyPenalty", request.frequency_penalty.take().map(Json::Raw));
    if request.stop.len() > MOST_STOPS {
        lost.add(Feature::StopSequences);
        request.stop.truncate(MOST_STOPS);
    }
    if !request.stop.is_empty() {
        let stops: Vec<Json> = request.stop.iter().map(Json::from).collect();
        settings.set("stopSequences", stops);
    }
    match &request.output {
        Output::Text => {}
        Output::Json => settings.set("responseMimeType", "application/json"),
        Output::Schema { schema, .. } => {
            settings.set("responseMimeType", "application/json");
            settings.set("responseJsonSchema", json_schema(schema));
        }
    }
    let thinking = request.thinking;
    match (thinking, model::gemini_thinks(model)) {
        (None | Some(Thinking::Free), _) => {}
        (Some(Thinking::Off), GeminiThinks::Not) => {}
        (Some(_), GeminiThinks::Not) => lost.add(Feature::Thinking),
        (Some(thinking), GeminiThinks::Budget) => {
            let budget = match thinking {
                // Pro can't do without; 128 is the least it takes.
                Thinking::Off | Thinking::Free if model.contains("pro") => 128,
                Thinking::Off | Thinking::Free => 0,
                Thinking::Budget(tokens) => tokens.clamp(512, 24_576),
                Thinking::Effort(effort) => effort.budget(),
            };
            settings.set("thinkingConfig", object! { "thinkingBudget": budget });
        }
        (Some(thinking), GeminiThinks::Level) => {
            let effort = match thinking {
                Thinking::Off | Thinking::Free => Effort::Minimal,
                Thinking::Budget(tokens) => Effort::of_budget(tokens),
                Thinking::Effort(effort) => effort,
            };
            let level = model::gemini_level(effort);
            settings.set("thinkingConfig", object! { "thinkingLevel": level });
        }
    }
    settings
}

/// Answers go by name here; the calls before them tell it.
fn name_answers(request: &mut Request) {
    let mut names = std::collections::HashMap::new();
    for part in request.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
        match part {
            Part::Call(call) => drop(names.insert(call.id.clone(), call.name.clone())),
            Part::Result(answer) => {
                let known = names.get(&answer.id).cloned();
                answer.name = known.or_else(|| answer.name.take());
            }
            Part::Text(_) | Part::Media(_) => {}
        }
    }
}

/// Takes JSON schema as it is, except for the word that says which edition it is.
fn json_schema(schema: &str) -> Json {
    let Some(node) = crate::llm::translate::doc::Node::parse(schema.as_bytes()) else {
        return object! {};
    };
    if node.get("$schema").is_none() {
        return Json::Raw(schema.to_owned());
    }
    let fields = node.members();
    let kept = fields.iter().filter(|(name, _)| *name != "$schema");
    let kept =
        kept.map(|(name, value)| (name.to_owned().into(), Json::Raw(value.raw().to_owned())));
    Json::Object(kept.collect())
}

fn tool(tool: &Tool) -> Json {
    let mut function = object! { "name": &tool.name };
    function.set("description", tool.description.as_deref().unwrap_or_default());
    let schema = tool.schema.as_deref();
    function.set_some("parametersJsonSchema", schema.map(json_schema));
    function
}

fn choice(choice: &Choice) -> Json {
    match choice {
        Choice::Auto => object! { "mode": "AUTO" },
        Choice::None => object! { "mode": "NONE" },
        Choice::Any => object! { "mode": "ANY" },
        Choice::Tool(name) => {
            object! { "mode": "ANY", "allowedFunctionNames": vec![Json::from(name)] }
        }
    }
}

fn content(turn: &Exchange, signs: bool, lost: &mut Lost) -> Json {
    let mut parts = Vec::new();
    let mut signed = !signs;
    for part in &turn.parts {
        match part {
            Part::Text(text) => parts.push(object! { "text": text }),
            Part::Media(piece) => parts.extend(media(piece, lost)),
            Part::Call(call) => {
                let mut part = object! {
                    "functionCall": object! {
                        "id": &call.id,
                        "name": &call.name,
                        "args": turns::arguments(&call.arguments),
                    },
                };
                // The first call of a turn carries the signature for all of them.
                if !signed {
                    part.set("thoughtSignature", UNSIGNED);
                    signed = true;
                }
                parts.push(part);
            }
            Part::Result(answer) => parts.push(result(answer, lost)),
        }
    }
    if parts.is_empty() {
        parts.push(object! { "text": turns::NOTHING });
    }
    let role = if turn.role == Role::Assistant { "model" } else { "user" };
    object! { "role": role, "parts": parts }
}

fn result(answer: &Answer, lost: &mut Lost) -> Json {
    for piece in &answer.media {
        lost.add(piece.kind.feature());
    }
    let key = if answer.is_error { "error" } else { "output" };
    let response = Json::Object(vec![(key.into(), Json::from(&answer.text))]);
    object! {
        "functionResponse": object! {
            "id": &answer.id,
            "name": answer.name.as_deref().unwrap_or("unknown"),
            "response": response,
        },
    }
}

fn media(media: &Media, lost: &mut Lost) -> Option<Json> {
    match &media.source {
        Source::Base64 { media_type, data } if media.kind != MediaKind::Video => Some(object! {
            "inlineData": object! { "mimeType": media_type, "data": data },
        }),
        // Google fetches nothing from elsewhere, and neither do we.
        _ => {
            lost.add(media.kind.feature());
            None
        }
    }
}
