//! `weir trust status`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::json;

use super::file::digest_of;
use super::store::Store;
use crate::cli::site::{Site, code};
use crate::clock::{Clock, System};
use crate::downstream::ca::{CaError, PUBLIC_ROOT, RENEW_BEFORE, Root};
use crate::downstream::trust::installed;
use crate::downstream::trust::ledger::Ledger;

/// Prints how things stand; 10 where the host does not trust the CA, or not for long.
pub(super) fn print(
    root: &Path,
    as_json: bool,
    site: &Site,
    out: &mut impl Write,
) -> anyhow::Result<u8> {
    let now = System.now().wall;
    let ca = match Root::read(&site.state_dir) {
        Ok(ca) => Some(ca),
        Err(CaError::Missing { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let since = ca.as_ref().and_then(|ca| installed::since(root, &site.state_dir, ca));
    let bundle = installed::system_bundle(root);
    // Only root may read the ledger; everybody may ask.
    let ledger = Ledger::load(&site.state_dir).ok().flatten();
    let changed: Vec<_> = ledger
        .iter()
        .flat_map(|ledger| &ledger.files)
        .filter(|file| digest_of(&file.path).as_ref() != Some(&file.sha256))
        .map(|file| file.path.clone())
        .collect();
    let outlook = ca.as_ref().map(|ca| Outlook::of(ca, now));
    let good = since.is_some() && changed.is_empty() && outlook == Some(Outlook::Good);

    let mut others: BTreeMap<&str, Vec<&PathBuf>> = BTreeMap::new();
    for file in ledger.iter().flat_map(|ledger| &ledger.files) {
        if file.store != Store::System.name() {
            others.entry(&file.store).or_default().push(&file.path);
        }
    }
    if as_json {
        let more = others
            .iter()
            .map(|(store, files)| json!({"store": store, "installed": true, "files": files}));
        let report = json!({
            "schema_version": 1,
            "ca": ca.as_ref().map(|ca| json!({
                "path": site.state_dir.join(PUBLIC_ROOT),
                "fingerprint": ca.fingerprint(),
                "not_before": day(ca.not_before()),
                "not_after": day(ca.not_after()),
                "outlook": outlook.map(Outlook::as_str),
                "hosts": ca.permitted().collect::<Vec<_>>(),
                "hosts_outside": outside(ca, site),
            })),
            "stores": std::iter::once(json!({
                "store": Store::System.name(),
                "bundle": bundle,
                "installed": since.is_some(),
                "since": since.map(day),
                "changed_files": changed,
            })).chain(more).collect::<Vec<_>>(),
        });
        writeln!(out, "{report:#}")?;
        return Ok(if good { code::OK } else { code::DEGRADED });
    }

    let Some(ca) = ca else {
        writeln!(out, "no local CA yet; `weir trust install` makes one")?;
        return Ok(code::DEGRADED);
    };
    writeln!(out, "CA      {}", site.state_dir.join(PUBLIC_ROOT).display())?;
    writeln!(out, "sha256  {}", ca.fingerprint())?;
    let valid = (day(ca.not_before()), day(ca.not_after()));
    write!(out, "valid   {} to {}", valid.0, valid.1)?;
    match outlook {
        Some(Outlook::Good) | None => writeln!(out)?,
        Some(bad) => writeln!(out, "  ({}: run `weir trust rotate`)", bad.as_str())?,
    }
    let mut hosts = ca.permitted();
    writeln!(out, "hosts   {}", hosts.next().unwrap_or("none"))?;
    for host in hosts {
        writeln!(out, "        {host}")?;
    }
    for host in outside(&ca, site) {
        writeln!(out, "        {host}: not covered, stays unmetered until `weir trust rotate`")?;
    }
    match (since, &bundle) {
        (Some(since), _) => writeln!(out, "system  installed since {}", day(since))?,
        (None, Some(_)) => writeln!(out, "system  not installed; run `weir trust install`")?,
        (None, None) => writeln!(out, "system  no store; install the package `ca-certificates`")?,
    }
    for (store, files) in others {
        for (path, word) in files.iter().zip(std::iter::once(store).chain(std::iter::repeat(""))) {
            writeln!(out, "{word:<7} {}", path.display())?;
        }
    }
    for path in changed {
        writeln!(out, "        {}: missing or changed since", path.display())?;
    }
    Ok(if good { code::OK } else { code::DEGRADED })
}

/// Configured hosts the CA was not made for.
fn outside<'c>(ca: &Root, site: &'c Site) -> Vec<&'c str> {
    site.hosts.iter().map(String::as_str).filter(|host| !ca.covers(host)).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outlook {
    Good,
    EndsSoon,
    NotValid,
}

impl Outlook {
    fn of(ca: &Root, now: SystemTime) -> Self {
        if now < ca.not_before() || now >= ca.not_after() {
            Self::NotValid
        } else if now + RENEW_BEFORE >= ca.not_after() {
            Self::EndsSoon
        } else {
            Self::Good
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::EndsSoon => "ends soon",
            Self::NotValid => "not valid now",
        }
    }
}

/// The day in UTC; certificates do not need more.
fn day(at: SystemTime) -> String {
    Timestamp::try_from(at)
        .map_or_else(|_| "unknown".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
}
