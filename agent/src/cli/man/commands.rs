//! weir(1) and a page for each command below it.

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::Page;
use crate::cli::Cli;

const FILES: [(&str, &str); 6] = [
    ("/etc/weir/weir.yaml", "the configuration, see weir.yaml(5)"),
    ("/etc/weir/conf.d/*.yaml", "merged over it, in lexical order"),
    ("/var/lib/weir/ledger.db", "every call, an SQLite database"),
    ("/var/lib/weir/weir-ca.pem", "the root certificate of this host's own authority"),
    ("/run/weir/weir.sock", "where the commands reach the daemon"),
    ("/usr/share/doc/weir", "examples, drop-ins for the service, what is captured and what is not"),
];

/// All pages: what is hidden from help has none.
pub(super) fn pages() -> anyhow::Result<Vec<Page>> {
    let mut root = Cli::command();
    // Gives every command its full name, and the flags that all of them take.
    root.build();
    let mut pages = Vec::new();
    collect(&root, None, &mut pages)?;
    Ok(pages)
}

fn collect(command: &Command, above: Option<&str>, pages: &mut Vec<Page>) -> anyhow::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let below: Vec<&Command> =
        command.get_subcommands().filter(|below| !below.is_hide_set()).collect();
    let mut content = Vec::new();
    Man::new(command.clone()).render(&mut content)?;
    let mut content = String::from_utf8(content)?;
    content.push_str(&closing(above, &below));
    for below in below {
        collect(below, Some(&name), pages)?;
    }
    pages.push(Page { name: format!("{name}.1"), content });
    Ok(())
}

fn closing(above: Option<&str>, below: &[&Command]) -> String {
    let mut roff = Roff::new();
    if above.is_none() {
        roff.control("SH", ["FILES"]);
        for (path, what) in FILES {
            roff.control("TP", []).text([bold(path)]).text([roman(what)]);
        }
    }
    let below = below.iter().filter_map(|below| below.get_display_name());
    let pages = above.into_iter().chain(below).map(|name| (name, "(1)"));
    roff.control("SH", ["SEE ALSO"]);
    for (name, section) in pages {
        roff.text([bold(name), roman(format!("{section},"))]);
    }
    roff.text([bold("weir.yaml"), roman("(5)")]);
    roff.to_roff()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(command: &Command, check: &mut impl FnMut(&Command)) {
        check(command);
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            each(below, check);
        }
    }

    #[test]
    fn every_command_has_a_page_that_names_every_flag() {
        let pages = pages().unwrap();
        let mut root = Cli::command();
        root.build();
        let (mut commands, mut flags) = (0, 0);
        each(&root, &mut |command| {
            commands += 1;
            let name = command.get_display_name().unwrap_or_else(|| command.get_name());
            let page = pages.iter().find(|page| page.name == format!("{name}.1"));
            let page = page.unwrap_or_else(|| panic!("no page for {name}"));
            // As roff spells a hyphen that is not a dash.
            let text = page.content.replace("\\-", "-");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let shown = match argument.get_long() {
                    Some(long) => format!("--{long}"),
                    None => argument.get_value_names().map_or_else(
                        || argument.get_id().to_string(),
                        |names| names[0].to_string(),
                    ),
                };
                assert!(text.contains(&shown), "{name} does not tell of {shown}");
                flags += 1;
            }
        });
        assert_eq!(pages.len(), commands);
        assert!(commands > 50 && flags > 200, "{commands} commands, {flags} flags");
    }
}
