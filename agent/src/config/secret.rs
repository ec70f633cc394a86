//! Secrets in the configuration: written out, or where they are to be found. What was written out
//! is never printed.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::secret::Secret;

/// What stands for a secret where the configuration is shown.
const REDACTED: &str = "[redacted]";
/// No key is longer; something else was named by mistake.
const LONGEST: u64 = 64 << 10;

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In the configuration itself.
    Literal(Secret),
    /// In this environment variable of the daemon.
    Env(String),
    /// In this file; blanks and line ends around it do not count.
    File(PathBuf),
    /// In this credential of the service (systemd.exec(5), `LoadCredential=`).
    Credential(String),
}

/// Why a secret cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not there.
    #[error("the environment variable {0} is not set")]
    Unset(String),
    /// The file is not there, or not for us.
    #[error("{path}: {fault}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        fault: io::Error,
    },
    /// There are no credentials.
    #[error("the credential {0} was not passed: this service has none (LoadCredential=)")]
    NoCredentials(String),
    /// There is nothing in it.
    #[error("{0} is empty")]
    Empty(String),
}

impl SecretSource {
    /// Reads it. Blocks on a file.
    pub fn read(&self) -> Result<Secret, SecretError> {
        #[expect(clippy::disallowed_methods, reason = "config reads the environment")]
        let variable = |name: &str| std::env::var_os(name);
        match self {
            Self::Literal(secret) => Ok(secret.clone()),
            Self::Env(name) => {
                let unset = || SecretError::Unset(name.clone());
                let value = variable(name).and_then(|value| value.into_string().ok());
                whole(&value.ok_or_else(unset)?, name)
            }
            Self::File(path) => file(path),
            Self::Credential(name) => {
                let none = || SecretError::NoCredentials(name.clone());
                let dir = variable("CREDENTIALS_DIRECTORY").ok_or_else(none)?;
                file(&Path::new(&dir).join(name))
            }
        }
    }
}

fn file(path: &Path) -> Result<Secret, SecretError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    read.map_err(|fault| SecretError::File { path: path.to_owned(), fault })?;
    whole(&text, &path.display().to_string())
}

fn whole(text: &str, place: &str) -> Result<Secret, SecretError> {
    match text.trim() {
        "" => Err(SecretError::Empty(place.to_owned())),
        secret => Ok(Secret::new(secret)),
    }
}

/// Where a secret may be; one of these.
const KEYS: [&str; 4] = ["env", "file", "systemd-credential", "literal"];

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = SecretSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret, or where it is: env, file or systemd-credential")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretSource, E> {
                literal(text)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretSource, A::Error> {
                let mut found = None;
                while let Some(key) = map.next_key::<String>()? {
                    // Of the whole secret: without the key it would be none.
                    let Some(known) = KEYS.iter().find(|known| **known == key) else {
                        return Err(de::Error::unknown_variant(&key, &KEYS));
                    };
                    if found.replace((*known, map.next_value::<String>()?)).is_some() {
                        return Err(de::Error::custom(format!(
                            "takes only one of {}",
                            KEYS.join(", ")
                        )));
                    }
                }
                match found {
                    Some(("literal", text)) => literal(&text),
                    Some(("file", path)) => Ok(SecretSource::File(PathBuf::from(path))),
                    Some(("env", name)) if is_variable(&name) => Ok(SecretSource::Env(name)),
                    Some(("systemd-credential", name)) if is_credential(&name) => {
                        Ok(SecretSource::Credential(name))
                    }
                    Some((kind, name)) => {
                        Err(de::Error::custom(format!("`{name}` is not a name for {kind}")))
                    }
                    None => Err(de::Error::custom(format!("needs one of {}", KEYS.join(", ")))),
                }
            }
        }

        from.deserialize_any(Either)
    }
}

fn literal<E: de::Error>(text: &str) -> Result<SecretSource, E> {
    match text {
        "" => Err(E::custom("the secret is empty")),
        REDACTED => Err(E::custom("`[redacted]` stands for a secret that was not shown")),
        text => Ok(SecretSource::Literal(Secret::new(text))),
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// It becomes the name of a file.
fn is_credential(name: &str) -> bool {
    !name.contains('/') && !matches!(name, "" | "." | "..")
}

impl Serialize for SecretSource {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (key, value) = match self {
            Self::Literal(_) => return to.serialize_str(REDACTED),
            Self::Env(name) => ("env", name.clone()),
            Self::File(path) => ("file", path.display().to_string()),
            Self::Credential(name) => ("systemd-credential", name.clone()),
        };
        let mut map = to.serialize_map(Some(1))?;
        map.serialize_entry(key, &value)?;
        map.end()
    }
}

impl JsonSchema for SecretSource {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A secret, or where it is to be found.",
            "anyOf": [
                {"type": ["string", "number"]},
                {
                    "type": "object",
                    "properties": {
                        "env": {"type": "string", "description": "Environment variable of the daemon."},
                        "file": {"type": "string", "description": "File with nothing else in it."},
                        "systemd-credential": {"type": "string", "description": "Credential of the service."},
                        "literal": {"type": "string", "description": "The secret itself."},
                    },
                    "additionalProperties": false,
                    "minProperties": 1,
                    "maxProperties": 1,
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_out_is_never_printed() {
        let secret = SecretSource::Literal(Secret::new("hunter2"));
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"[redacted]\"");
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert_eq!(secret.read().unwrap().reveal(), "hunter2");
    }

    #[test]
    fn files_and_variables() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let source = SecretSource::File(path.clone());
        assert!(matches!(source.read(), Err(SecretError::File { .. })));
        std::fs::write(&path, " key\n").unwrap();
        assert_eq!(source.read().unwrap().reveal(), "key");
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(source.read(), Err(SecretError::Empty(_))));
        // Cargo sets it for every test.
        let name = "CARGO_PKG_NAME".to_owned();
        assert_eq!(SecretSource::Env(name).read().unwrap().reveal(), "agent");
        let unset = SecretSource::Env("NOT_SET_ANYWHERE".to_owned()).read().unwrap_err();
        assert_eq!(unset.to_string(), "the environment variable NOT_SET_ANYWHERE is not set");
    }
}
