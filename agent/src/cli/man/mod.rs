//! `weir man`: the manual, made from what the program is made of: a page for every command from its
//! arguments, weir.yaml(5) from the schema of the configuration.

mod commands;
mod keys;
mod yaml;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{Ctx, Exit};
use crate::config;

/// Write the manual: `weir man /usr/local/share/man`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory for `man1/` and `man5/`
    dir: PathBuf,
}

pub(super) fn run(args: &Args, _ctx: &Ctx) -> anyhow::Result<Exit> {
    for page in commands::pages()? {
        write(&args.dir.join("man1"), &page)?;
    }
    let content = yaml::page(&config::schema());
    write(&args.dir.join("man5"), &Page { name: "weir.yaml.5".to_owned(), content })?;
    Ok(Exit::Ok)
}

/// A page of the manual, as roff.
#[derive(Debug)]
struct Page {
    name: String,
    content: String,
}

fn write(directory: &Path, page: &Page) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let path = directory.join(&page.name);
    fs::write(&path, &page.content).with_context(|| path.display().to_string())
}
