//! Scripts of `tests/clients`, run with a real SDK as their authors would run them.

use std::os::unix::fs::symlink;
use std::path::Path;

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
