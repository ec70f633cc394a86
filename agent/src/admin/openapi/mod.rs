//! `/openapi.json`: the API, described from the types and the table it is made of (`OpenAPI` 3.1).
//!
//! Shapes come from the types that are read and written, routes from the tables below; a test holds
//! those against the router, and the system tests hold answers of a running agent against the whole.

mod operation;
mod own;
mod policies;
mod upkeep;
mod watched;

use std::sync::LazyLock;

use axum::Router;
use axum::routing::get;
use http::header;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::problem::{CONTENT_TYPE, ProblemDetails};
use super::routes::Shared;

use self::operation::Operation;

/// Where shapes are that are used more than once.
const SHAPES: &str = "/components/schemas";

/// Made once: it is the same for as long as the program runs.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());

pub(super) fn router() -> Router<Shared> {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Router::new().route("/openapi.json", get(async move || (kind, DOCUMENT.as_str())))
}

/// Every route.
fn table() -> Vec<Operation> {
    [own::table(), policies::table(), upkeep::table(), watched::table()].concat()
}

fn document() -> Value {
    let shapes = |settings: &mut SchemaSettings| {
        settings.definitions_path = SHAPES.into();
        // The document says once which dialect it is in.
        settings.meta_schema = None;
    };
    let settings = SchemaSettings::draft2020_12().with(shapes);
    let mut written = settings.clone().for_serialize().into_generator();
    let read = |settings: &mut SchemaSettings| settings.inline_subschemas = true;
    let mut read = settings.with(read).for_deserialize().into_generator();
    let problem = written.subschema_for::<ProblemDetails>();
    let mut paths = Map::new();
    for operation in table() {
        let path = paths.entry(operation.path_in_document()).or_insert_with(|| json!({}));
        let described = operation.described(&mut written, &mut read);
        if let Value::Object(methods) = path {
            methods.insert(operation.method.to_owned(), described);
        }
    }
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Weir",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Who calls which LLM on this host, what it costs, and what may be done about it.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": written.take_definitions(true),
            "responses": {
                "problem": {
                    "description": "What went wrong, and what to do about it.",
                    "content": {CONTENT_TYPE: {"schema": problem}},
                },
            },
            "securitySchemes": {
                "session": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of a session, which `weir dashboard` makes. Over the \
                        unix socket none is needed: the kernel says who asks.",
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::routes::routes;
    use super::*;

    /// Method and path of every route, as the router itself tells them.
    fn routed() -> BTreeSet<(String, String)> {
        let told = format!("{:#?}", routes());
        // `RouteId(3): "/api/spend"` below, `RouteId(3): MethodRouter(MethodRouter { get: …` above.
        let number = |line: &str| -> Option<(u32, String)> {
            let (number, rest) = line.trim().strip_prefix("RouteId(")?.split_once("): ")?;
            Some((number.parse().ok()?, rest.to_owned()))
        };
        let flat: Vec<&str> = told.lines().map(str::trim).collect();
        let mut methods: Vec<(u32, String)> = Vec::new();
        let mut paths: Vec<(u32, String)> = Vec::new();
        let mut at = None;
        for (place, line) in flat.iter().enumerate() {
            // Keys of maps are printed over several lines: `RouteId(`, `3,`, `): value`.
            if *line == "RouteId(" {
                at = flat[place + 1].trim_end_matches(',').parse::<u32>().ok();
                let value = flat.get(place + 2).and_then(|line| line.strip_prefix("): "));
                if let (Some(id), Some(path)) = (at, value.and_then(|it| it.strip_prefix('"'))) {
                    paths.push((id, path.trim_end_matches([',', '"']).to_owned()));
                }
            }
            if let Some((id, rest)) = number(line) {
                at = Some(id);
                if let Some(path) = rest.strip_prefix('"') {
                    paths.push((id, path.trim_end_matches([',', '"']).to_owned()));
                }
            }
            for method in ["get", "put", "post", "delete", "patch"] {
                let given = line.strip_prefix(method).and_then(|rest| rest.strip_prefix(": "));
                if let (Some(id), Some(given)) = (at, given)
                    && !given.starts_with("None")
                {
                    methods.push((id, method.to_owned()));
                }
            }
        }
        let path = |id: u32| paths.iter().find(|(of, _)| *of == id).map(|(_, path)| path.clone());
        methods.into_iter().filter_map(|(id, method)| Some((method, path(id)?))).collect()
    }

    #[test]
    fn every_route_is_described_and_no_other() {
        let routed = routed();
        assert!(routed.contains(&("put".to_owned(), "/api/mode".to_owned())), "{routed:?}");
        assert!(routed.len() > 40, "{routed:?}");
        let described: BTreeSet<_> = table()
            .iter()
            .map(|operation| (operation.method.to_owned(), operation.path.to_owned()))
            .collect();
        let missing: Vec<_> = routed.difference(&described).collect();
        assert!(missing.is_empty(), "not in admin/openapi: {missing:?}");
        let gone: Vec<_> = described.difference(&routed).collect();
        assert!(gone.is_empty(), "no such routes: {gone:?}");
    }

    #[test]
    fn references_lead_somewhere_and_names_are_sound() {
        fn walk(value: &Value, see: &mut impl FnMut(&str)) {
            match value {
                Value::Object(map) => {
                    map.iter().for_each(|(key, value)| match value {
                        Value::String(target) if key == "$ref" => see(target),
                        other => walk(other, see),
                    });
                }
                Value::Array(items) => items.iter().for_each(|item| walk(item, see)),
                _ => {}
            }
        }
        let document = document();
        let mut seen = 0;
        walk(&document, &mut |target| {
            seen += 1;
            let found = document.pointer(target.trim_start_matches('#'));
            assert!(target.starts_with('#') && found.is_some(), "{target}");
        });
        assert!(seen > 50, "{seen}");
        let names = document["components"]["schemas"].as_object().unwrap();
        let sound =
            |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        assert!(names.keys().all(|name| sound(name)), "{:?}", names.keys());
        let ids = table().iter().map(Operation::id).collect::<BTreeSet<_>>();
        assert_eq!(ids.len(), table().len(), "operations have names of their own");
    }

    #[test]
    fn parameters_are_told_from_what_is_no_ones_to_ask() {
        let document = document();
        let spend = &document["paths"]["/api/spend"]["get"];
        let names: Vec<_> = spend["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        assert!(names.contains(&"since") && names.contains(&"by"), "{names:?}");
        assert!(!names.contains(&"uid"), "{names:?}");
        let policy = &document["paths"]["/api/policies/{name}"];
        assert_eq!(policy["put"]["parameters"][0]["in"], "path");
        assert!(policy["put"]["requestBody"]["content"]["application/json"].is_object());
        assert!(policy["get"]["requestBody"].is_null());
    }
}
