//! What is in the binary, as a `CycloneDX` document: every crate that is compiled into it and every
//! script that is embedded, with license and checksum, and who depends on whom.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use serde_json::{Value, json};

use super::inputs::Inputs;
use super::scripts;
use crate::shell;

/// The crates that end up in the binary: the kernel half is compiled apart and embedded.
const ROOTS: [&str; 2] = ["agent", "agent-ebpf"];

/// The document, as text.
pub(super) fn document(inputs: &Inputs) -> anyhow::Result<String> {
    let lock = std::fs::read_to_string(shell::root().join("Cargo.lock"))?;
    let timestamp = inputs.date(&["+%Y-%m-%dT%H:%M:%SZ"])?;
    let graph = Graph::read(&inputs.metadata)?;
    let about = (inputs.version.as_str(), timestamp.as_str());
    let mut told = graph.told(about, &checksums(&lock));
    scripts::add(&mut told)?;
    Ok(format!("{told:#}\n"))
}

/// Packages by their id, and what each needs at run time.
struct Graph<'a> {
    packages: BTreeMap<&'a str, &'a Value>,
    needs: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Graph<'a> {
    fn read(metadata: &'a Value) -> anyhow::Result<Self> {
        let list = |value: &'a Value| value.as_array().map(Vec::as_slice).unwrap_or_default();
        let packages: BTreeMap<&str, &Value> = list(&metadata["packages"])
            .iter()
            .filter_map(|package| Some((package["id"].as_str()?, package)))
            .collect();
        let mut resolved = BTreeMap::new();
        for node in list(&metadata["resolve"]["nodes"]) {
            let id = node["id"].as_str().context("cargo metadata: a node without an id")?;
            let needed = list(&node["deps"]).iter().filter_map(|dependency| {
                let mut kinds = list(&dependency["dep_kinds"]).iter();
                let id = dependency["pkg"].as_str()?;
                let runs = packages.get(id).is_some_and(|package| !is_macro(package));
                (runs && kinds.any(|kind| kind["kind"].is_null())).then_some(id)
            });
            resolved.insert(id, needed.collect::<BTreeSet<&str>>());
        }
        let mut needs = BTreeMap::new();
        let mut left: Vec<&str> = packages
            .iter()
            .filter(|(_, package)| ROOTS.iter().any(|root| package["name"] == *root))
            .map(|(id, _)| *id)
            .collect();
        while let Some(id) = left.pop() {
            let needed = resolved.get(id).cloned().unwrap_or_default();
            left.extend(needed.iter().filter(|id| !needs.contains_key(*id)));
            needs.insert(id, needed);
        }
        Ok(Self { packages, needs })
    }

    fn told(&self, (version, timestamp): (&str, &str), checksums: &Checksums<'_>) -> Value {
        let of = |id: &&str| self.packages.get(id).copied();
        let root = format!("pkg:generic/weir@{version}");
        let roots = self.needs.keys().filter_map(of).filter(|package| is_root(package)).map(purl);
        let mut dependencies = vec![json!({"ref": &root, "dependsOn": roots.collect::<Vec<_>>()})];
        dependencies.extend(self.needs.iter().filter_map(|(id, needed)| {
            let needed: Vec<String> = needed.iter().filter_map(of).map(purl).collect();
            Some(json!({"ref": purl(of(id)?), "dependsOn": needed}))
        }));
        let components = self.needs.keys().filter_map(of);
        json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {
                "timestamp": timestamp,
                "component": {
                    "type": "application",
                    "bom-ref": root,
                    "purl": root,
                    "name": "weir",
                    "version": version,
                },
            },
            "components": components.map(|it| component(it, checksums)).collect::<Vec<_>>(),
            "dependencies": dependencies,
        })
    }
}

/// It runs in the compiler, and nothing of it is in what it makes.
fn is_macro(package: &Value) -> bool {
    let targets = package["targets"].as_array().into_iter().flatten();
    let mut kinds = targets.flat_map(|target| target["kind"].as_array().into_iter().flatten());
    kinds.any(|kind| kind == "proc-macro")
}

fn is_root(package: &Value) -> bool {
    ROOTS.iter().any(|root| package["name"] == *root)
}

fn component(package: &Value, checksums: &Checksums<'_>) -> Value {
    let text = |key: &str| package[key].as_str().unwrap_or_default();
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(package),
        "purl": purl(package),
        "name": text("name"),
        "version": text("version"),
    });
    if let Some(license) = package["license"].as_str() {
        // The old way to say that either holds.
        let expression = license.replace('/', " OR ");
        component["licenses"] = json!([{"expression": expression}]);
    }
    if let Some(checksum) = checksums.get(&(text("name"), text("version"))) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    component
}

/// What is not from a registry is told apart by having no checksum.
fn purl(package: &Value) -> String {
    let text = |key: &str| package[key].as_str().unwrap_or_default();
    format!("pkg:cargo/{}@{}", text("name"), text("version").replace('+', "%2B"))
}

type Checksums<'a> = BTreeMap<(&'a str, &'a str), &'a str>;

/// By the format of `Cargo.lock`, as cargo writes it.
fn checksums(lock: &str) -> Checksums<'_> {
    lock.split("[[package]]").filter_map(read).collect()
}

fn read(block: &str) -> Option<((&str, &str), &str)> {
    let field = |name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
        line.map(|value| value.trim_matches('"'))
    };
    Some(((field("name")?, field("version")?), field("checksum")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Value {
        let package = |id: &str, kind: &str| {
            json!({
                "id": id, "name": id, "version": "1.0.0+b", "license": "MIT/Apache-2.0",
                "targets": [{"kind": [kind]}],
            })
        };
        let need = |id: &str, kind: Value| json!({"pkg": id, "dep_kinds": [{"kind": kind}]});
        json!({
            "packages": [
                package("agent", "lib"), package("used", "lib"), package("deeper", "lib"),
                package("derive", "proc-macro"), package("only-tests", "lib"),
                package("xtask", "bin"), package("builds", "lib"),
            ],
            "resolve": {"nodes": [
                {"id": "agent", "deps": [
                    need("used", Value::Null), need("derive", Value::Null),
                    need("only-tests", json!("dev")), need("builds", json!("build")),
                ]},
                {"id": "used", "deps": [need("deeper", Value::Null)]},
                {"id": "deeper", "deps": []},
                {"id": "xtask", "deps": [need("used", Value::Null)]},
            ]},
        })
    }

    #[test]
    fn what_is_compiled_in_is_listed_and_nothing_else() {
        let metadata = metadata();
        let lock = "[[package]]\nname = \"used\"\nversion = \"1.0.0+b\"\nchecksum = \"ab\"\n";
        let graph = Graph::read(&metadata).unwrap();
        let told = graph.told(("0.1.0", "2026-01-02T03:04:05Z"), &checksums(lock));
        let components = told["components"].as_array().unwrap();
        let names: Vec<_> = components.iter().map(|it| it["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["agent", "deeper", "used"]);
        let used = &components[2];
        assert_eq!(used["purl"], "pkg:cargo/used@1.0.0%2Bb");
        assert_eq!(used["hashes"][0]["content"], "ab");
        assert_eq!(used["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(components[0]["hashes"], Value::Null);
        let references: Vec<_> = told["dependencies"].as_array().unwrap().iter().collect();
        assert_eq!(references.len(), 4);
        assert_eq!(references[0]["dependsOn"], json!(["pkg:cargo/agent@1.0.0%2Bb"]));
    }
}
