//! Scripts of `tests/clients`, run with a real SDK as their authors would run them.

use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::artefacts;
use crate::client::{Output, Route};
use crate::stage::Stage;

impl Stage {
    /// Runs a script to its end. `home` is the environment under `target/clients` it is run with:
    /// `python-current`, `python-legacy` or `node`.
    pub async fn script(&self, route: Route, home: &str, script: &str) -> anyhow::Result<Output> {
        let installed = artefacts::client(home)?;
        if home == "node" {
            let script = self.beside_modules(&installed, script)?;
            return self.run(route, &["node", &script]).await;
        }
        let python = installed.join("bin/python3").display().to_string();
        let script = artefacts::script(&format!("python/{script}"));
        self.run(route, &[&python, &script.display().to_string()]).await
    }

    /// Runs a script of `tests/clients/dashboard` in a real browser; what it returned. `given` is what
    /// it is told.
    pub async fn browse(&self, script: &str, given: &Value) -> anyhow::Result<Value> {
        let installed = artefacts::client("dashboard")?;
        let mut given = given.clone();
        given["chromium"] = json!(artefacts::chromium()?);
        let directory = self.scratch().join("dashboard");
        if !directory.exists() {
            std::fs::create_dir(&directory)?;
            symlink(installed.join("node_modules"), directory.join("node_modules"))?;
        }
        for name in ["browser.mjs", script] {
            std::fs::copy(artefacts::script(&format!("dashboard/{name}")), directory.join(name))?;
        }
        let script = directory.join(script).display().to_string();
        let mut command = self.command(Route::BaseUrl, &["node", &script, &given.to_string()])?;
        // Profiles of the browser go with the stage; days are those of the one who compares.
        command.env("TMPDIR", self.scratch()).env("TZ", "UTC");
        let child = command.spawn().context("start node")?;
        let Output { code, stdout, stderr, .. } = Output::of(child).await.context(script)?;
        ensure!(code == Some(0), "it ended with {code:?}\n{stdout}\n{stderr}");
        serde_json::from_str(&stdout).with_context(|| format!("{stdout}\n{stderr}"))
    }

    /// Node looks for modules beside the script, so the script is put beside them.
    fn beside_modules(&self, home: &Path, script: &str) -> anyhow::Result<String> {
        let directory = self.scratch().join("node");
        if !directory.exists() {
            std::fs::create_dir(&directory)?;
            symlink(home.join("node_modules"), directory.join("node_modules"))?;
        }
        let copy = directory.join(script);
        std::fs::copy(artefacts::script(&format!("node/{script}")), &copy)?;
        Ok(copy.display().to_string())
    }
}
