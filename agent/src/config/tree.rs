//! YAML as a tree in which every node knows its place, and the merge of several such trees.
//!
//! Scalars keep their text: what a word means is decided by who asks for it, so that `mode: off`
//! is the mode and never the boolean `false`, and `0.10` keeps its digits.

use std::path::Path;
use std::sync::Arc;

use serde_saphyr::granit_parser::{
    self, BorrowedInput, Event, Marker, Parser, ScalarStyle, ScanError,
};

use super::problem::{Place, Problem, Step, Trail};

/// Aliases are expanded; this bounds what a few lines of them can grow to.
const MAX_NODES: usize = 100_000;

/// A node and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Nothing, `null` or `~`.
    Null,
    /// A word, with or without quotes.
    Text(String),
    /// Items with the index they have in the file.
    List(Vec<(usize, Node)>),
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Place,
    pub(super) node: Node,
}

impl Node {
    /// An empty map that stands at the start of `file`.
    pub(super) fn empty(file: &Arc<Path>) -> Self {
        let at = Place { file: Arc::clone(file), line: 1, column: 1 };
        Self { at, value: Value::Map(Vec::new()) }
    }

    /// Lays `over` upon this node: maps are merged key by key, anything else is replaced.
    pub(super) fn merge(&mut self, over: Self) {
        match (&mut self.value, over.value) {
            (Value::Map(entries), Value::Map(others)) => {
                for other in others {
                    match entries.iter_mut().find(|entry| entry.key == other.key) {
                        Some(entry) => {
                            entry.at = other.at;
                            entry.node.merge(other.node);
                        }
                        None => entries.push(other),
                    }
                }
            }
            // A section emptied by comments takes nothing back from the files before it.
            (Value::Map(_), Value::Null) => {}
            (value, other) => {
                *value = other;
                self.at = over.at;
            }
        }
    }

    /// The node at the end of `trail`.
    pub(super) fn find(&self, trail: &Trail) -> Option<&Self> {
        trail.0.iter().try_fold(self, |node, step| match (&node.value, step) {
            (Value::Map(entries), Step::Key(key)) => {
                entries.iter().find(|entry| entry.key == *key).map(|entry| &entry.node)
            }
            (Value::List(items), Step::Item(index)) => {
                items.iter().find(|(at, _)| at == index).map(|(_, node)| node)
            }
            _ => None,
        })
    }

    /// Takes the node at the end of `trail` out; false where there is none.
    pub(super) fn remove(&mut self, trail: &[Step]) -> bool {
        let Some((step, rest)) = trail.split_first() else { return false };
        match (&mut self.value, step) {
            (Value::Map(entries), Step::Key(key)) => {
                let Some(at) = entries.iter().position(|entry| entry.key == *key) else {
                    return false;
                };
                if !rest.is_empty() {
                    return entries[at].node.remove(rest);
                }
                entries.remove(at);
                true
            }
            (Value::List(items), Step::Item(index)) => {
                let Some(at) = items.iter().position(|(found, _)| found == index) else {
                    return false;
                };
                if !rest.is_empty() {
                    return items[at].1.remove(rest);
                }
                items.remove(at);
                true
            }
            _ => false,
        }
    }
}

/// Reads one file's text. Where it is not YAML the tree ends at the fault, which is the last of
/// `problems`.
pub(super) fn parse(text: &str, file: &Arc<Path>, problems: &mut Vec<Problem>) -> Node {
    let mut builder = Builder {
        file,
        parser: Parser::new_from_str(text),
        anchors: Vec::new(),
        nodes: 0,
        problems,
    };
    match builder.document() {
        Ok(root) => root,
        Err(fault) => {
            let place = builder.place(fault.marker());
            let what = format!("not valid YAML: {}", fault.info());
            builder.problem(place, "", what);
            Node::empty(file)
        }
    }
}

struct Builder<'a, 'i, I: BorrowedInput<'i>> {
    file: &'a Arc<Path>,
    parser: Parser<'i, I>,
    anchors: Vec<(usize, Node)>,
    nodes: usize,
    problems: &'a mut Vec<Problem>,
}

impl<'i, I: BorrowedInput<'i>> Builder<'_, 'i, I> {
    fn document(&mut self) -> Result<Node, ScanError> {
        let mut root = None;
        while let Some((event, at)) = self.next()? {
            match event {
                Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(..)
                | Event::DocumentEnd => {}
                _ if root.is_some() => {
                    let what = "a second document: only one per file is read".to_owned();
                    self.problem(self.place(&at), "", what);
                    break;
                }
                event => root = Some(self.node(event, at, &Trail::default())?),
            }
        }
        Ok(root.unwrap_or_else(|| Node::empty(self.file)))
    }

    fn node(&mut self, event: Event<'i>, at: Marker, trail: &Trail) -> Result<Node, ScanError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(ScanError::new(at, "too many nodes"));
        }
        let place = self.place(&at);
        if event.tag().is_some() {
            self.problem(place.clone(), &trail.to_string(), "tags are not supported".to_owned());
        }
        let anchor = event.anchor_id();
        let value = match event {
            Event::Scalar(text, ScalarStyle::Plain, ..)
                if matches!(&*text, "" | "~" | "null" | "Null" | "NULL") =>
            {
                Value::Null
            }
            Event::Scalar(text, ..) => Value::Text(text.into_owned()),
            Event::SequenceStart(..) => self.list(trail)?,
            Event::MappingStart(..) => self.map(trail)?,
            Event::Alias(id) => return Ok(self.alias(id, place)),
            _ => return Err(ScanError::new(at, "a value was expected here")),
        };
        let node = Node { at: place, value };
        if let Some(id) = anchor {
            self.anchors.push((id, node.clone()));
        }
        Ok(node)
    }

    fn list(&mut self, trail: &Trail) -> Result<Value, ScanError> {
        let mut items = Vec::new();
        while let Some((event, at)) = self.next()? {
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            let index = items.len();
            items.push((index, self.node(event, at, &trail.item(index))?));
        }
        Ok(Value::List(items))
    }

    fn map(&mut self, trail: &Trail) -> Result<Value, ScanError> {
        let mut entries: Vec<Entry> = Vec::new();
        while let Some((event, at)) = self.next()? {
            let key = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(ScanError::new(at, "a key must be a plain word")),
            };
            let key_at = self.place(&at);
            let Some((event, at)) = self.next()? else { break };
            let below = trail.key(&key);
            let node = self.node(event, at, &below)?;
            match entries.iter().find(|entry| entry.key == key) {
                Some(first) => {
                    let what = format!("given twice; first on line {}", first.at.line);
                    self.problem(key_at, &below.to_string(), what);
                }
                None => entries.push(Entry { key, at: key_at, node }),
            }
        }
        Ok(Value::Map(entries))
    }

    fn alias(&mut self, id: usize, at: Place) -> Node {
        if let Some((_, node)) = self.anchors.iter().rev().find(|(anchor, _)| *anchor == id) {
            self.nodes += size(node);
            return Node { at, value: node.value.clone() };
        }
        // The parser refuses unknown names; left is an alias inside the node it names.
        self.problem(at.clone(), "", "an alias inside the node it names".to_owned());
        Node { at, value: Value::Null }
    }

    fn next(&mut self) -> Result<Option<(Event<'i>, Marker)>, ScanError> {
        let next: Option<Result<(Event<'i>, granit_parser::Span), ScanError>> =
            self.parser.next_event();
        next.map(|found| found.map(|(event, span)| (event, span.start))).transpose()
    }

    fn place(&self, at: &Marker) -> Place {
        Place { file: Arc::clone(self.file), line: at.line(), column: at.col() + 1 }
    }

    fn problem(&mut self, place: Place, path: &str, what: String) {
        self.problems.push(Problem { place: Some(place), path: path.to_owned(), what, hint: None });
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Null | Value::Text(_) => 0,
        Value::List(items) => items.iter().map(|(_, item)| size(item)).sum(),
        Value::Map(entries) => entries.iter().map(|entry| size(&entry.node)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn tree(text: &str) -> (Node, Vec<Problem>) {
        let mut problems = Vec::new();
        let root = parse(text, &Arc::from(Path::new("w.yaml")), &mut problems);
        (root, problems)
    }

    fn text(node: &Node, keys: &[&str]) -> String {
        let trail = Trail(keys.iter().map(|key| Step::Key((*key).to_owned())).collect());
        format!("{:?}", node.find(&trail).map(|node| &node.value))
    }

    #[test]
    fn words_stay_words() {
        let (root, problems) = tree("a: off\nb: 0.10\nc: 'null'\nd:\n");
        assert_eq!(problems, []);
        assert_eq!(text(&root, &["a"]), r#"Some(Text("off"))"#);
        assert_eq!(text(&root, &["b"]), r#"Some(Text("0.10"))"#);
        assert_eq!(text(&root, &["c"]), r#"Some(Text("null"))"#);
        assert_eq!(text(&root, &["d"]), "Some(Null)");
    }

    #[test]
    fn merge_is_deep_for_maps_and_replaces_lists() {
        let (mut root, _) = tree("m: {a: 1, b: {x: 1}}\nl: [1, 2]\nk: {z: 1}\n");
        let (over, _) = tree("m: {b: {y: 2}}\nl: [3]\nk:\n");
        root.merge(over);
        assert_eq!(text(&root, &["m", "a"]), r#"Some(Text("1"))"#);
        assert_eq!(text(&root, &["m", "b", "x"]), r#"Some(Text("1"))"#);
        assert_eq!(text(&root, &["m", "b", "y"]), r#"Some(Text("2"))"#);
        assert_eq!(text(&root, &["k", "z"]), r#"Some(Text("1"))"#);
        let Value::List(items) = &root.find(&Trail::default().key("l")).unwrap().value else {
            panic!("not a list")
        };
        assert_eq!(items.len(), 1);
    }

    #[test]
    fn duplicates_tags_and_second_documents_are_problems_with_places() {
        let (_, problems) = tree("a: 1\na: 2\nb: !x 3\n---\nc: 1\n");
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "w.yaml:2:1: a: given twice; first on line 1",
                "w.yaml:3:7: b: tags are not supported",
                "w.yaml:5:1: a second document: only one per file is read",
            ]
        );
    }

    #[test]
    fn broken_yaml_has_a_place() {
        let (_, problems) = tree("a: 1\nb: [1,\n");
        assert_eq!(problems.len(), 1);
        assert!(problems[0].to_string().contains("not valid YAML"), "{}", problems[0]);
        assert!(problems[0].place.as_ref().unwrap().line >= 2);
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..10 {
            let below = format!("*a{},", level - 1).repeat(10);
            writeln!(bomb, "a{level}: &a{level} [{below}]").unwrap();
        }
        let (_, problems) = tree(&bomb);
        assert!(problems[0].what.contains("too many nodes"), "{}", problems[0]);
    }
}
