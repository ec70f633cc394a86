//! What people call a container or pod, remembered for a while: both can be renamed. The files that
//! tell belong to root, so the helper is asked.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use crate::capture::helper::Helper;

/// Looks up names of containers and pods.
#[derive(Debug)]
pub(super) struct Containers {
    helper: Helper,
    names: Cache<String, Arc<str>>,
}

impl Containers {
    pub(super) fn new(helper: Helper) -> Self {
        let names =
            Cache::builder().max_capacity(1024).time_to_live(Duration::from_mins(10)).build();
        Self { helper, names }
    }

    /// Name of the container with this full id (64 hexadecimal digits, checked by the caller), or
    /// the id's first 12 digits.
    pub(super) fn container(&self, id: &str) -> Arc<str> {
        self.remember(id, || self.helper.container(id))
            .unwrap_or_else(|| id.get(..12).unwrap_or(id).into())
    }

    /// `NAMESPACE/NAME` of the pod with this uid, or the uid.
    pub(super) fn pod(&self, uid: &str) -> Arc<str> {
        self.remember(uid, || self.helper.pod(uid)).unwrap_or_else(|| uid.into())
    }

    /// A name that is not there yet may be there for the next process: only hits are kept.
    fn remember(&self, key: &str, look: impl FnOnce() -> Option<String>) -> Option<Arc<str>> {
        if let Some(name) = self.names.get(key) {
            return Some(name);
        }
        let name: Arc<str> = look()?.into();
        self.names.insert(key.to_owned(), Arc::clone(&name));
        Some(name)
    }
}
