//! Where a provider's key is, and reading it from there. The key itself stands in no
//! configuration.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In an environment variable.
    Env(Arc<str>),
    /// In a file.
    File(PathBuf),
    /// In a credential of the agent's systemd unit.
    SystemdCredential(Arc<str>),
}

impl KeySource {
    /// Reads it, with whatever blanks stand around it.
    pub fn read(&self) -> io::Result<String> {
        #[expect(clippy::disallowed_methods, reason = "config reads the environment")]
        let variable = |name: &str| {
            let missing =
                |_| io::Error::new(io::ErrorKind::NotFound, format!("${name} is not set"));
            std::env::var(name).map_err(missing)
        };
        match self {
            Self::Env(name) => variable(name),
            Self::File(file) => std::fs::read_to_string(file),
            Self::SystemdCredential(name) => {
                let directory = variable("CREDENTIALS_DIRECTORY")?;
                std::fs::read_to_string(PathBuf::from(directory).join(&**name))
            }
        }
    }
}
