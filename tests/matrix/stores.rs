//! Stores that do not follow the system's bundle on the stage.

use std::path::Path;

use anyhow::ensure;
use harness::{Route, Stage};

/// Adds a root to Java's key store, as the hook of Debian's package does.
pub(crate) async fn java(stage: &Stage, name: &str, root: &Path) -> anyhow::Result<()> {
    let root = root.display().to_string();
    let options = ["-importcert", "-noprompt", "-storepass", "changeit", "-keystore"];
    let store = ["/etc/ssl/certs/java/cacerts", "-alias", name, "-file", &root];
    run(stage, &[&["keytool"], &options[..], &store[..]].concat()).await
}

/// Adds a root to the databases that Chromium looks for in its user's home, which on the stage is the
/// scratch directory: `weir trust install --stores nss` does the same in those of all users.
pub(crate) async fn nss(stage: &Stage, name: &str, root: &Path) -> anyhow::Result<()> {
    let root = root.display().to_string();
    // Asked for a password it would go on asking.
    let password = stage.scratch().join("no-password");
    std::fs::write(&password, "\n")?;
    let password = password.display().to_string();
    for place in [".pki/nssdb", ".local/share/pki/nssdb"] {
        let directory = stage.scratch().join(place);
        std::fs::create_dir_all(&directory)?;
        let database = format!("sql:{}", directory.display());
        run(stage, &["certutil", "-N", "--empty-password", "-d", &database]).await?;
        let add = ["certutil", "-A", "-t", "C,,", "-n", name, "-i", &root, "-f", &password];
        run(stage, &[&add[..], &["-d", &database]].concat()).await?;
    }
    Ok(())
}

async fn run(stage: &Stage, command: &[&str]) -> anyhow::Result<()> {
    let done = stage.run(Route::Direct, command).await?;
    ensure!(done.code == Some(0), "{command:?}: {}{}", done.stdout, done.stderr);
    Ok(())
}
