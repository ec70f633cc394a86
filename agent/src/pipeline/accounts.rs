//! The accounts behind the credentials that pass through, and what providers say of their limits.
//!
//! An account is known by a keyed hash of its credential: the same one is known again, and nobody
//! learns the credential. The table is bounded; the account not heard of for longest leaves first.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use aws_lc_rs::hmac;
use foldhash::HashMap;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use parking_lot::Mutex;

use super::Exchange;
use crate::llm::quota::{self, Quota};
use crate::record::Billing;
use crate::subject::Subject;

/// Accounts kept.
const ACCOUNTS: usize = 1_024;
/// Bytes of the hash that name an account.
const NAME: usize = 6;
/// Where credentials are sent, the most telling first: `OpenAI`'s plans name the account beside a
/// token that changes every hour.
const CREDENTIALS: [HeaderName; 5] = [
    HeaderName::from_static("chatgpt-account-id"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
    header::AUTHORIZATION,
];

/// What is known of all accounts.
#[derive(Debug, Default)]
pub struct Accounts {
    key: OnceLock<hmac::Key>,
    known: Mutex<HashMap<Key, Account>>,
}

/// The credential that a connection's first request came with, and the account behind it: the
/// others come with the same one.
#[derive(Default)]
pub struct First(OnceLock<(Box<[u8]>, Arc<str>)>);

/// The account's name, and nothing of the credential.
impl fmt::Debug for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("First").field(&self.0.get().map(|(_, name)| name)).finish()
    }
}

/// Provider and account.
type Key = (Arc<str>, Arc<str>);

/// What a provider says of one account.
#[derive(Debug, Clone)]
pub struct Account {
    /// The provider.
    pub provider: Arc<str>,
    /// The credential, as a keyed hash.
    pub account: Arc<str>,
    /// How it is billed.
    pub billing: Billing,
    /// Its limits, as last heard.
    pub quotas: Vec<Quota>,
    /// When that was.
    pub at: SystemTime,
    /// Who asked then.
    pub subject: Arc<Subject>,
}

impl Accounts {
    /// Sets the key of the hashes, so that accounts keep their names over a restart; without it,
    /// and once a name has been given, one made at random holds.
    pub fn set_key(&self, key: &[u8]) {
        self.key.get_or_init(|| hmac::Key::new(hmac::HMAC_SHA256, key));
    }

    /// The account behind a request's credential, on a connection whose first one is kept; `None`
    /// where it has none.
    pub(super) fn name(&self, headers: &HeaderMap, first: &First) -> Option<Arc<str>> {
        let credential = credential(headers)?;
        let (known, name) =
            first.0.get_or_init(|| (Box::from(credential), self.name_of(credential)));
        if **known == *credential { Some(Arc::clone(name)) } else { Some(self.name_of(credential)) }
    }

    fn name_of(&self, credential: &[u8]) -> Arc<str> {
        let key = self.key.get_or_init(random_key);
        let tag = hmac::sign(key, credential);
        let mut name = String::with_capacity(2 * NAME);
        for byte in &tag.as_ref()[..NAME] {
            for digit in [byte >> 4, byte & 15] {
                name.extend(char::from_digit(u32::from(digit), 16));
            }
        }
        name.into()
    }

    /// Everything known, in no order.
    pub fn all(&self) -> Vec<Account> {
        self.known.lock().values().cloned().collect()
    }

    fn learn(&self, account: Account) {
        let mut known = self.known.lock();
        let key = (Arc::clone(&account.provider), Arc::clone(&account.account));
        if known.len() >= ACCOUNTS && !known.contains_key(&key) {
            let oldest = known.iter().min_by_key(|(_, account)| account.at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                known.remove(&oldest);
            }
        }
        match known.get_mut(&key) {
            // An answer tells of some limits only: the others stay as they were.
            Some(old) => {
                let kinds: Vec<_> = account.quotas.iter().map(|quota| quota.kind).collect();
                let mut quotas = std::mem::take(&mut old.quotas);
                quotas.retain(|quota| !kinds.contains(&quota.kind));
                quotas.extend(&account.quotas);
                *old = Account { quotas, ..account };
            }
            None => {
                known.insert(key, account);
            }
        }
    }
}

/// Reads what an answer's head says of the account's limits.
pub(super) fn learn(exchange: &Exchange, headers: &HeaderMap) {
    let now = exchange.context.clock.now().wall;
    let quotas = quota::read(headers, now);
    if quotas.is_empty() {
        return;
    }
    let account = exchange.peek(|record| {
        // The answer of another provider, asked with a credential of our own, is not about this
        // account.
        let answered = record.attempts.last().map(|attempt| &attempt.provider);
        answered.is_none_or(|answered| *answered == record.provider).then(|| Account {
            provider: Arc::clone(&record.provider),
            account: record.account.clone().unwrap_or_else(|| Arc::from("none")),
            billing: record.billing,
            quotas,
            at: now,
            subject: Arc::clone(&record.subject),
        })
    });
    if let Some(account) = account.flatten() {
        exchange.rules.policies.accounts.learn(account);
    }
}

fn credential(headers: &HeaderMap) -> Option<&[u8]> {
    CREDENTIALS.iter().find_map(|name| headers.get(name)).map(HeaderValue::as_bytes)
}

fn random_key() -> hmac::Key {
    let mut key = [0; 32];
    if aws_lc_rs::rand::fill(&mut key).is_err() {
        // TLS does not work either then, and hardly a call gets here.
        tracing::error!("there is no randomness: names of accounts can be guessed at");
    }
    hmac::Key::new(hmac::HMAC_SHA256, &key)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::subject::{Parts, Process, Workload};

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        [(HeaderName::from_static(name), HeaderValue::from_static(value))].into_iter().collect()
    }

    fn account(name: &str, at: u64, quotas: Vec<Quota>) -> Account {
        let process = Process {
            pid: 1,
            start_ticks: 1,
            exe: Arc::from(""),
            command: Arc::from(""),
            uid: 0,
            user: None,
            verified: true,
        };
        let workload = Workload::derive(&Parts::default());
        Account {
            provider: Arc::from("openai"),
            account: Arc::from(name),
            billing: Billing::Metered,
            quotas,
            at: UNIX_EPOCH + Duration::from_secs(at),
            subject: Arc::new(Subject { process, workload }),
        }
    }

    fn quota(kind: &'static str, remaining: f64) -> Quota {
        Quota { kind, remaining, count: None, resets_at: None }
    }

    #[test]
    fn one_credential_has_one_name_that_does_not_give_it_away() {
        let accounts = Accounts::default();
        accounts.set_key(b"kept");
        let name =
            accounts.name(&headers("x-api-key", "sk-ant-secret"), &First::default()).unwrap();
        assert_eq!(
            accounts.name(&headers("x-api-key", "sk-ant-secret"), &First::default()),
            Some(Arc::clone(&name))
        );
        assert_ne!(
            accounts.name(&headers("x-api-key", "sk-ant-other"), &First::default()),
            Some(Arc::clone(&name))
        );
        assert_eq!(name.len(), 2 * NAME);
        assert_eq!(accounts.name(&headers("accept", "text/plain"), &First::default()), None);
        let again = Accounts::default();
        again.set_key(b"kept");
        assert_eq!(
            again.name(&headers("x-api-key", "sk-ant-secret"), &First::default()),
            Some(Arc::clone(&name))
        );
        let first = First::default();
        for secret in ["sk-ant-secret", "sk-ant-other", "sk-ant-secret"] {
            let headers = headers("x-api-key", secret);
            let apart = accounts.name(&headers, &First::default());
            assert_eq!(accounts.name(&headers, &first), apart);
        }
        assert!(!format!("{first:?}").contains("secret"), "{first:?}");
        let elsewhere = Accounts::default();
        assert_ne!(
            elsewhere.name(&headers("x-api-key", "sk-ant-secret"), &First::default()),
            Some(name)
        );
    }

    #[test]
    fn the_newest_word_on_each_limit_counts_and_the_table_is_bounded() {
        let accounts = Accounts::default();
        accounts.learn(account("a", 1, vec![quota("requests", 0.9), quota("tokens", 0.5)]));
        accounts.learn(account("a", 2, vec![quota("tokens", 0.4)]));
        let all = accounts.all();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].quotas, [quota("requests", 0.9), quota("tokens", 0.4)]);
        for n in 0..2 * ACCOUNTS {
            accounts.learn(account(&format!("b{n}"), 10 + n as u64, vec![quota("tokens", 0.1)]));
        }
        assert_eq!(accounts.all().len(), ACCOUNTS);
        assert!(accounts.all().iter().all(|account| &*account.account != "a"));
    }
}
