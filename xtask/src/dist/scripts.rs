//! The scripts that are embedded with the dashboard, as components of the list of what is in the binary:
//! by the lock file they are installed from.

use std::fmt::Write as _;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::shell;

/// Adds them to a document, as something the whole depends on.
pub(super) fn add(document: &mut Value) -> anyhow::Result<()> {
    let path = shell::root().join("agent/dashboard/package-lock.json");
    let lock = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let scripts = components(&serde_json::from_str(&lock)?)?;
    let references: Vec<Value> = scripts.iter().map(|script| script["bom-ref"].clone()).collect();
    let list = |value: &mut Value, more: Vec<Value>| {
        value.as_array_mut().context("the document has no such list").map(|list| list.extend(more))
    };
    list(&mut document["components"], scripts)?;
    list(&mut document["dependencies"][0]["dependsOn"], references.clone())?;
    let leaves = references.into_iter().map(|script| json!({"ref": script, "dependsOn": []}));
    list(&mut document["dependencies"], leaves.collect())
}

fn components(lock: &Value) -> anyhow::Result<Vec<Value>> {
    let packages = lock["packages"].as_object().context("a lock file of npm lists packages")?;
    // The entry without a path is what depends on the others.
    let installed = packages.iter().filter(|(path, _)| !path.is_empty());
    installed.map(|(path, package)| component(path, package)).collect()
}

fn component(path: &str, package: &Value) -> anyhow::Result<Value> {
    let text = |key: &str| package[key].as_str().with_context(|| format!("{path} has no {key}"));
    let name = path.rsplit_once("node_modules/").map_or(path, |(_, name)| name);
    let purl = format!("pkg:npm/{}@{}", name.replace('@', "%40"), text("version")?);
    let sum = text("integrity")?.strip_prefix("sha512-").context("a SHA-512 checksum")?;
    let mut hex = String::new();
    for byte in STANDARD.decode(sum)? {
        write!(hex, "{byte:02x}")?;
    }
    Ok(json!({
        "type": "library",
        "bom-ref": purl,
        "purl": purl,
        "name": name,
        "version": text("version")?,
        "licenses": [{"expression": text("license")?}],
        "hashes": [{"alg": "SHA-512", "content": hex}],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_listed_with_license_and_checksum() {
        let mut document = json!({
            "components": [],
            "dependencies": [{"ref": "weir", "dependsOn": ["pkg:cargo/agent@0.1.0"]}],
        });
        add(&mut document).unwrap();
        let script = &document["components"][0];
        assert_eq!(
            (&script["name"], &script["licenses"][0]["expression"]),
            (&json!("uplot"), &json!("MIT"))
        );
        assert_eq!(script["hashes"][0]["content"].as_str().unwrap().len(), 128);
        assert_eq!(document["dependencies"][0]["dependsOn"][1], script["purl"]);
        assert_eq!(document["dependencies"][1]["ref"], script["purl"]);

        let lock = json!({"packages": {"": {}, "node_modules/@a/b": {
            "version": "1.0.0", "license": "MIT", "integrity": "sha512-AP8=",
        }}});
        let found = components(&lock).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["purl"], "pkg:npm/%40a/b@1.0.0");
        assert_eq!(found[0]["hashes"][0]["content"], "00ff");
        let unsigned = json!({"packages": {"node_modules/x": {"version": "1", "license": "MIT"}}});
        assert!(components(&unsigned).is_err());
    }
}
