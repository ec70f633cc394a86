//! Reading a few fields out of a large JSON document, without allocating for the rest.
//!
//! Providers and clients are trusted with nothing here: unknown fields are skipped, a field of an
//! unexpected type counts as absent, and of a repeated key the last one counts, as it does for
//! the providers' own parsers.

use std::borrow::Cow;
use std::marker::PhantomData;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Counts beyond this are nonsense, not usage.
const MAX_COUNT: u64 = 1 << 40;

/// Something that picks what it wants from a JSON value; what it doesn't override is skipped.
pub(super) trait Shape<'de>: Default {
    /// A whole number from 0 to 2⁴⁰.
    fn number(&mut self, _: u64) {}
    /// `true` or `false`.
    fn boolean(&mut self, _: bool) {}
    /// A string, borrowed from the document where it holds no escapes.
    fn text(&mut self, _: Text<'de, '_>) {}
    /// A member of an object.
    fn member<A: MapAccess<'de>>(&mut self, _: &str, value: Value<'_, A>) -> Result<(), A::Error> {
        value.skip()
    }
    /// An element of an array, read into this same value.
    fn item<A: SeqAccess<'de>>(&mut self, items: &mut A) -> Result<bool, A::Error> {
        Ok(items.next_element::<IgnoredAny>()?.is_some())
    }
}

/// A string of the document.
pub(super) struct Text<'de, 's> {
    text: &'s str,
    /// The same, where the document holds it as it is.
    borrowed: Option<&'de str>,
}

impl<'de> Text<'de, '_> {
    pub(super) fn as_str(&self) -> &str {
        self.text
    }

    pub(super) fn into_cow(self) -> Cow<'de, str> {
        self.borrowed.map_or_else(|| Cow::Owned(self.text.to_owned()), Cow::Borrowed)
    }
}

/// The value of a member, to be read once.
pub(super) struct Value<'a, A>(&'a mut A);

impl<'de, A: MapAccess<'de>> Value<'_, A> {
    /// Reads it into `target`, forgetting what an earlier member of the same name put there.
    pub(super) fn into<T: Shape<'de>>(self, target: &mut T) -> Result<(), A::Error> {
        *target = T::default();
        self.0.next_value_seed(Into(target, PhantomData))
    }

    /// Reads it on top of what `target` holds: for sums over several members.
    pub(super) fn add_to<T: Shape<'de>>(self, target: &mut T) -> Result<(), A::Error> {
        self.0.next_value_seed(Into(target, PhantomData))
    }

    /// Its text in the document.
    pub(super) fn raw(self) -> Result<&'de RawValue, A::Error> {
        self.0.next_value()
    }

    pub(super) fn skip(self) -> Result<(), A::Error> {
        self.0.next_value::<IgnoredAny>().map(drop)
    }
}

/// Reads the next element of an array on top of what `target` holds.
pub(super) fn add_item<'de, A, T>(items: &mut A, target: &mut T) -> Result<bool, A::Error>
where
    A: SeqAccess<'de>,
    T: Shape<'de>,
{
    Ok(items.next_element_seed(Into(target, PhantomData))?.is_some())
}

/// Reads a whole document.
pub(super) fn read<'de, T: Shape<'de>>(document: &'de [u8]) -> serde_json::Result<T> {
    // Checked once as a whole: cheaper than string by string.
    let document = std::str::from_utf8(document).map_err(de::Error::custom)?;
    let mut value = T::default();
    let mut parser = serde_json::Deserializer::from_str(document);
    Into(&mut value, PhantomData).deserialize(&mut parser)?;
    parser.end()?;
    Ok(value)
}

struct Into<'t, 'de, T>(&'t mut T, PhantomData<&'de ()>);

impl<'de, T: Shape<'de>> DeserializeSeed<'de> for Into<'_, 'de, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Shape<'de>> Visitor<'de> for Into<'_, 'de, T> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.0.boolean(value);
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        if value <= MAX_COUNT {
            self.0.number(value);
        }
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_borrowed_str<E: de::Error>(self, value: &'de str) -> Result<(), E> {
        self.0.text(Text { text: value, borrowed: Some(value) });
        Ok(())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        self.0.text(Text { text: value, borrowed: None });
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while self.0.item(&mut items)? {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = members.next_key()? {
            self.0.member(&key, Value(&mut members))?;
        }
        Ok(())
    }
}

/// A key, borrowed where it holds no escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> de::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: de::Error>(self, key: &'de str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed(key)))
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(key.to_owned())))
    }
}

impl Shape<'_> for Option<u64> {
    fn number(&mut self, value: u64) {
        *self = Some(value);
    }
}

impl Shape<'_> for Option<bool> {
    fn boolean(&mut self, value: bool) {
        *self = Some(value);
    }
}

impl<'de> Shape<'de> for Option<Cow<'de, str>> {
    fn text(&mut self, value: Text<'de, '_>) {
        *self = Some(value.into_cow());
    }
}

/// The bytes of all strings in a value, at any depth: how much was said, whatever its shape.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Volume(pub(super) u64);

impl<'de> Shape<'de> for Volume {
    fn text(&mut self, value: Text<'de, '_>) {
        self.0 += value.as_str().len() as u64;
    }

    fn member<A: MapAccess<'de>>(&mut self, _: &str, value: Value<'_, A>) -> Result<(), A::Error> {
        value.add_to(self)
    }

    fn item<A: SeqAccess<'de>>(&mut self, items: &mut A) -> Result<bool, A::Error> {
        add_item(items, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, Debug, PartialEq)]
    struct Pick<'de> {
        count: Option<u64>,
        name: Option<Cow<'de, str>>,
        said: Volume,
    }

    impl<'de> Shape<'de> for Pick<'de> {
        fn member<A: MapAccess<'de>>(
            &mut self,
            key: &str,
            value: Value<'_, A>,
        ) -> Result<(), A::Error> {
            match key {
                "count" => value.into(&mut self.count),
                "name" => value.into(&mut self.name),
                "said" => value.into(&mut self.said),
                _ => value.skip(),
            }
        }
    }

    fn pick(text: &str) -> Pick<'_> {
        read(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_last_of_repeated_keys_counts() {
        assert_eq!(pick(r#"{"count": 1, "x": {"count": 9}, "count": 2}"#).count, Some(2));
        assert_eq!(pick(r#"{"count": 1, "count": null}"#).count, None);
        assert_eq!(pick(r#"{"\u0063ount": 3}"#).count, Some(3));
    }

    #[test]
    fn what_is_no_count_is_absent() {
        for value in ["-1", "1.0", "1e3", "9223372036854775808", "99999999999999999999", "\"5\""] {
            assert_eq!(pick(&format!(r#"{{"count": {value}}}"#)).count, None, "{value}");
        }
        for value in ["true", "null", "[1]", "{\"count\": 1}"] {
            assert_eq!(pick(&format!(r#"{{"count": {value}}}"#)).count, None, "{value}");
        }
    }

    #[test]
    fn strings_are_borrowed_or_unescaped() {
        assert_eq!(pick(r#"{"name": "a"}"#).name, Some(Cow::Borrowed("a")));
        assert_eq!(pick(r#"{"name": "\u0061\n"}"#).name.as_deref(), Some("a\n"));
        assert_eq!(pick(r#"{"said": ["ab", {"x": "cé", "y": [1, "d"]}, null]}"#).said, Volume(6));
    }

    #[test]
    fn documents_that_are_no_objects_are_empty_and_broken_ones_are_errors() {
        assert_eq!(pick("[1, 2]"), Pick::default());
        assert_eq!(pick("3"), Pick::default());
        for text in ["", "{", "{} {}", "{\"a\"}", "[DONE]"] {
            assert!(read::<Pick<'_>>(text.as_bytes()).is_err(), "{text}");
        }
    }
}
