//! serde over a [`Node`]: the first fault of a tree, with its place and the way to it.
//!
//! Taking the faulty node out and reading again finds the next one, until all are known. Every key
//! has a default, so a tree from which something was taken is as readable as before.

use std::fmt::Display;

use serde::de::{self, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::problem::{Place, Problem, Trail, did_you_mean};
use super::tree::{Entry, Node, Value};

/// Reads a `T` from `tree`, taking out (and reporting) whatever cannot be read; what is left of
/// the tree is returned with it.
pub(super) fn read<T>(mut tree: Node, problems: &mut Vec<Problem>) -> Option<(T, Node)>
where
    T: for<'de> de::Deserialize<'de>,
{
    loop {
        let fault = match T::deserialize(Reader { node: &tree, trail: Trail::default() }) {
            Ok(value) => return Some((value, tree)),
            Err(Fault(fault)) => *fault,
        };
        let (place, trail) = fault.at.unwrap_or_else(|| (tree.at.clone(), Trail::default()));
        problems.push(Problem {
            place: Some(place),
            path: trail.to_string(),
            what: fault.what,
            hint: fault.hint,
        });
        if !tree.remove(&trail.0) {
            return None;
        }
    }
}

/// Why reading stopped.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.what)]
struct Fault(Box<Inner>);

#[derive(Debug)]
struct Inner {
    what: String,
    hint: Option<String>,
    at: Option<(Place, Trail)>,
}

impl Fault {
    fn new(what: String, hint: Option<String>) -> Self {
        Self(Box::new(Inner { what, hint, at: None }))
    }

    /// The innermost place wins: whoever is nearest to the fault names it first.
    fn or_at(mut self, place: &Place, trail: Trail) -> Self {
        self.0.at.get_or_insert_with(|| (place.clone(), trail));
        self
    }
}

impl de::Error for Fault {
    fn custom<T: Display>(what: T) -> Self {
        Self::new(what.to_string(), None)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match found {
            Unexpected::Str(word) => format!("`{word}`"),
            Unexpected::Unit => "nothing".to_owned(),
            Unexpected::Map => "a map".to_owned(),
            Unexpected::Seq => "a list".to_owned(),
            other => other.to_string(),
        };
        Self::new(format!("expected {expected}, found {found}"), None)
    }

    fn unknown_variant(found: &str, expected: &'static [&'static str]) -> Self {
        let hint = did_you_mean(found, expected.iter().copied());
        Self::new(format!("`{found}` is not one of {}", expected.join(", ")), hint)
    }

    fn unknown_field(found: &str, expected: &'static [&'static str]) -> Self {
        let what = format!("this key is not known to weir {}", env!("CARGO_PKG_VERSION"));
        Self::new(what, did_you_mean(found, expected.iter().copied()))
    }
}

struct Reader<'a> {
    node: &'a Node,
    trail: Trail,
}

impl Reader<'_> {
    fn unexpected(&self) -> Unexpected<'_> {
        match &self.node.value {
            Value::Null => Unexpected::Unit,
            Value::Text(text) => Unexpected::Str(text),
            Value::List(_) => Unexpected::Seq,
            Value::Map(_) => Unexpected::Map,
        }
    }

    fn word(&self, expected: &dyn de::Expected) -> Result<&str, Fault> {
        match &self.node.value {
            Value::Text(text) => Ok(text),
            _ => Err(de::Error::invalid_type(self.unexpected(), expected)),
        }
    }

    fn number<N: std::str::FromStr>(&self, expected: &dyn de::Expected) -> Result<N, Fault> {
        let number = self.word(expected)?.replace('_', "").parse();
        number.map_err(|_| de::Error::invalid_type(self.unexpected(), expected))
    }
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(items) => {
                visitor.visit_seq(Items { items: items.iter(), trail: self.trail })
            }
            Value::Map(entries) => visitor.visit_map(Entries::new(entries, self.trail)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.word(&"true or false")? {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(de::Error::invalid_type(self.unexpected(), &"true or false")),
        }
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_u8(self.number(&"a whole number up to 255")?)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_u16(self.number(&"a whole number up to 65535")?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_u32(self.number(&"a whole number up to 4294967295")?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_u64(self.number(&"a whole number")?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str(self.word(&"a word")?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Null => visitor.visit_seq(Items { items: [].iter(), trail: self.trail }),
            Value::List(items) => {
                visitor.visit_seq(Items { items: items.iter(), trail: self.trail })
            }
            _ => Err(de::Error::invalid_type(self.unexpected(), &"a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Null => visitor.visit_map(Entries::new(&[], self.trail)),
            Value::Map(entries) => visitor.visit_map(Entries::new(entries, self.trail)),
            _ => Err(de::Error::invalid_type(self.unexpected(), &"a map of keys")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let expected = format!("one of {}", variants.join(", "));
        visitor.visit_enum(self.word(&expected.as_str())?.into_deserializer())
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        identifier ignored_any
    }
}

struct Items<'a> {
    items: std::slice::Iter<'a, (usize, Node)>,
    trail: Trail,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T>(&mut self, seed: T) -> Result<Option<T::Value>, Fault>
    where
        T: DeserializeSeed<'de>,
    {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        let trail = self.trail.item(*index);
        let reader = Reader { node, trail: trail.clone() };
        seed.deserialize(reader).map(Some).map_err(|fault| fault.or_at(&node.at, trail))
    }
}

struct Entries<'a> {
    left: std::slice::Iter<'a, Entry>,
    value: Option<&'a Entry>,
    trail: Trail,
}

impl<'a> Entries<'a> {
    fn new(entries: &'a [Entry], trail: Trail) -> Self {
        Self { left: entries.iter(), value: None, trail }
    }
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K>(&mut self, seed: K) -> Result<Option<K::Value>, Fault>
    where
        K: DeserializeSeed<'de>,
    {
        self.value = self.left.next();
        let Some(entry) = self.value else { return Ok(None) };
        let key: de::value::StrDeserializer<'_, Fault> = entry.key.as_str().into_deserializer();
        seed.deserialize(key)
            .map(Some)
            .map_err(|fault| fault.or_at(&entry.at, self.trail.key(&entry.key)))
    }

    fn next_value_seed<V>(&mut self, seed: V) -> Result<V::Value, Fault>
    where
        V: DeserializeSeed<'de>,
    {
        let Some(entry) = self.value else {
            return Err(de::Error::custom("a value without its key"));
        };
        let trail = self.trail.key(&entry.key);
        let reader = Reader { node: &entry.node, trail: trail.clone() };
        seed.deserialize(reader).map_err(|fault| fault.or_at(&entry.node.at, trail))
    }
}
