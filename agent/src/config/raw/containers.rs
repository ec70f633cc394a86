//! What is done in containers, as written: one word for all, or a map.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// How far one goes with connections of containers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum RawReach {
    /// They are not looked at.
    Off,
    /// They are counted, by provider; nothing is redirected.
    #[default]
    Observe,
    /// They are redirected as those of the host are: the image must trust the CA.
    Meter,
}

/// One word for all of them, or a map.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub(in crate::config) struct RawContainers(pub(in crate::config) RawContainersBy);

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Containers")]
pub(in crate::config) struct RawContainersBy {
    /// How far one goes with those that no list below names.
    pub(in crate::config) default: RawReach,
    /// Whose connections are not looked at: `container:NAME`, `pod:NAMESPACE/NAME`, `unit:NAME`,
    /// `exe:NAME`, `user:NAME`, a workload's name, `*` for all; `*` at the end is any ending.
    pub(in crate::config) off: Vec<String>,
    /// Whose connections are counted.
    pub(in crate::config) observe: Vec<String>,
    /// Whose connections are redirected: their images must trust the CA.
    pub(in crate::config) meter: Vec<String>,
    /// Where providers are reached from.
    pub(in crate::config) dial: RawDial,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Container dialling")]
pub(in crate::config) struct RawDial {
    /// For whom from the host, whatever their own network allows; for all others from their own
    /// network.
    pub(in crate::config) host: Vec<String>,
}

impl<'de> Deserialize<'de> for RawContainers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = RawContainers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("off, observe, meter, or a map of keys")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Self::Value, E> {
                let default = RawReach::deserialize(StrDeserializer::new(word))?;
                Ok(RawContainers(RawContainersBy { default, ..RawContainersBy::default() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                RawContainersBy::deserialize(MapAccessDeserializer::new(map)).map(RawContainers)
            }
        }

        from.deserialize_any(Either)
    }
}

impl JsonSchema for RawContainers {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "WordOrContainers".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let word = generator.subschema_for::<RawReach>();
        let map = generator.subschema_for::<RawContainersBy>();
        json_schema!({"anyOf": [word, map]})
    }
}
