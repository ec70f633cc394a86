//! A part of the build script: what the dashboard is made of. Our own files lie here, those of the chart
//! library below `target/dashboard`, where `cargo xtask setup` installs them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// What of the library is served, and as what.
const VENDOR: [(&str, &str); 2] = [
    ("uplot/dist/uPlot.esm.js", "/assets/vendor/uPlot.esm.js"),
    ("uplot/dist/uPlot.min.css", "/assets/vendor/uPlot.min.css"),
];

/// Kinds of files that are served; others lie here for building.
const SERVED: [&str; 3] = ["css", "js", "svg"];

/// Writes the list that `admin::dashboard` includes: the path of each file, and its bytes.
pub(crate) fn list(workspace: &Path, out: &Path) -> Result<()> {
    let own = workspace.join("agent/dashboard");
    let installed = workspace.join("target/dashboard");
    println!("cargo:rerun-if-changed={}", own.display());
    println!("cargo:rerun-if-changed={}", installed.join(".pins").display());

    // The lock file that the library was installed by is kept beside it.
    let wanted = fs::read(own.join("package-lock.json")).context("the dashboard's lock file")?;
    ensure!(
        fs::read(installed.join(".pins")).is_ok_and(|pins| pins == wanted),
        "uPlot, which draws the dashboard's charts, is missing or another version: run `cargo xtask \
         setup`"
    );
    let modules = installed.join("node_modules");
    let licenses = out.join("LICENSES.txt");
    fs::write(&licenses, license(&modules)?)?;

    let mut files = vec![
        ("/".to_owned(), own.join("index.html")),
        ("/assets/LICENSES.txt".to_owned(), licenses),
    ];
    for (file, path) in VENDOR {
        files.push((path.to_owned(), modules.join(file)));
    }
    gather(&own, "/assets", &mut files)?;
    files.sort();
    let mut list = String::from("[\n");
    for (path, file) in files {
        let file = file.canonicalize().with_context(|| file.display().to_string())?;
        writeln!(
            list,
            "    ({path:?}, include_bytes!({:?}).as_slice()),",
            file.display().to_string()
        )?;
    }
    list.push(']');
    fs::write(out.join("dashboard.rs"), list)?;
    Ok(())
}

fn gather(directory: &Path, path: &str, files: &mut Vec<(String, PathBuf)>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let file = entry?.path();
        let name = file.file_name().and_then(|name| name.to_str()).context("a name in ASCII")?;
        let path = format!("{path}/{name}");
        let served = || SERVED.iter().any(|kind| file.extension().is_some_and(|it| it == *kind));
        if file.is_dir() {
            gather(&file, &path, files)?;
        } else if served() {
            files.push((path, file));
        }
    }
    Ok(())
}

/// What the library's license wants to be told along with it.
fn license(modules: &Path) -> Result<String> {
    let read = |file: &str| {
        let file = modules.join("uplot").join(file);
        fs::read_to_string(&file).with_context(|| file.display().to_string())
    };
    let about = read("package.json")?;
    let version = about.lines().find_map(|line| line.trim().strip_prefix("\"version\": \""));
    let version = version.and_then(|rest| rest.split('"').next()).context("uPlot's version")?;
    let text = read("LICENSE")?;
    let rule = "-".repeat(72);
    Ok(format!(
        "Weir's dashboard is part of Weir, under the terms of the MIT license or the Apache License 2.0.\n\
         It contains, unchanged:\n\n{rule}\n\nuPlot {version}\nhttps://github.com/leeoniya/uPlot\n\n{text}"
    ))
}
