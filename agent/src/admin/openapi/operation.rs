//! One entry of the table, and how the document describes it.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Makes a shape.
type Shape = fn(&mut SchemaGenerator) -> Schema;

/// What can be asked at one path with one method.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    /// As the router has it: a name in braces, or `{*name}` for all that is left.
    pub(super) path: &'static str,
    summary: &'static str,
    query: Option<Shape>,
    body: Option<Shape>,
    answer: Answer,
    /// Whether anybody may ask, also over HTTP.
    open: bool,
}

/// What is answered where all is well.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// Nothing, with status 204.
    Nothing,
    /// A value.
    Value(Shape),
    /// Something of this content type.
    Text(&'static str),
}

impl Operation {
    /// Reads something.
    pub(super) fn get(path: &'static str, summary: &'static str) -> Self {
        Self::new("get", path, summary)
    }

    /// Sets something.
    pub(super) fn put(path: &'static str, summary: &'static str) -> Self {
        Self::new("put", path, summary)
    }

    /// Makes something.
    pub(super) fn post(path: &'static str, summary: &'static str) -> Self {
        Self::new("post", path, summary)
    }

    /// Ends something.
    pub(super) fn delete(path: &'static str, summary: &'static str) -> Self {
        Self::new("delete", path, summary)
    }

    fn new(method: &'static str, path: &'static str, summary: &'static str) -> Self {
        let answer = Answer::Nothing;
        Self { method, path, summary, query: None, body: None, answer, open: false }
    }

    /// Has these parameters.
    pub(super) fn query<T: JsonSchema>(self) -> Self {
        Self { query: Some(T::json_schema), ..self }
    }

    /// Takes this.
    pub(super) fn body<T: JsonSchema>(self) -> Self {
        Self { body: Some(SchemaGenerator::subschema_for::<T>), ..self }
    }

    /// Answers this.
    pub(super) fn answers<T: JsonSchema>(self) -> Self {
        Self { answer: Answer::Value(SchemaGenerator::subschema_for::<T>), ..self }
    }

    /// Answers something that is no single value.
    pub(super) fn answers_as(self, content_type: &'static str) -> Self {
        Self { answer: Answer::Text(content_type), ..self }
    }

    /// Answers anybody.
    pub(super) fn open(self) -> Self {
        Self { open: true, ..self }
    }

    /// The path without the router's own marks.
    pub(super) fn path_in_document(&self) -> String {
        self.path.replace("{*", "{")
    }

    /// A name for it: `get_api_spend`.
    pub(super) fn id(&self) -> String {
        let words = self.path.split(|c: char| !c.is_ascii_alphanumeric());
        let words = std::iter::once(self.method).chain(words.filter(|word| !word.is_empty()));
        words.collect::<Vec<_>>().join("_")
    }

    /// As the document has it. `written` makes shapes of answers, `read` of what is sent.
    pub(super) fn described(
        &self,
        written: &mut SchemaGenerator,
        read: &mut SchemaGenerator,
    ) -> Value {
        let mut parameters = self.in_path();
        parameters.extend(self.query.iter().flat_map(|shape| in_query(&shape(read))));
        let answer = match self.answer {
            Answer::Nothing => ("204", json!({"description": "Done."})),
            Answer::Value(shape) => {
                let content = json!({"application/json": {"schema": shape(written)}});
                ("200", json!({"description": "The answer.", "content": content}))
            }
            Answer::Text(kind) => {
                let content = json!({kind: {"schema": {"type": "string"}}});
                ("200", json!({"description": "The answer.", "content": content}))
            }
        };
        let mut described = json!({
            "operationId": self.id(),
            "summary": self.summary,
            "responses": {
                answer.0: answer.1,
                "default": {"$ref": "#/components/responses/problem"},
            },
            // `{}`: over the socket, and where anybody may ask, no token is needed.
            "security": if self.open { json!([{}]) } else { json!([{"session": []}, {}]) },
        });
        if !parameters.is_empty() {
            described["parameters"] = Value::Array(parameters);
        }
        if let Some(body) = self.body {
            let content = json!({"application/json": {"schema": body(read)}});
            described["requestBody"] = json!({"required": true, "content": content});
        }
        described
    }

    fn in_path(&self) -> Vec<Value> {
        let names = self.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        let parameter = |name: &str| {
            let name = name.trim_start_matches('*');
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
        };
        names.map(parameter).collect()
    }
}

/// The fields of a struct as parameters.
fn in_query(shape: &Schema) -> Vec<Value> {
    let none = Map::new();
    let fields = shape.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let required = shape.get("required").and_then(Value::as_array);
    let parameter = |(name, field): (&String, &Value)| {
        let mut schema = field.clone();
        let required = required.is_some_and(|names| names.iter().any(|it| it == name));
        let mut parameter = json!({"name": name, "in": "query", "required": required});
        if let Some(about) = schema.as_object_mut().and_then(|schema| schema.remove("description"))
        {
            parameter["description"] = about;
        }
        parameter["schema"] = schema;
        parameter
    };
    fields.iter().map(parameter).collect()
}
