//! The configuration that packages install, and the examples beside it.

use std::fs;
use std::path::PathBuf;

use super::{Dir, Mode};

fn packaging() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("packaging")
}

#[test]
fn what_is_installed_observes_and_sets_nothing_else() {
    let text = fs::read_to_string(packaging().join("config/weir.yaml")).unwrap();
    let effective = super::effective(&Dir::new(&[("weir.yaml", &text)]).paths()).unwrap();
    assert_eq!(effective.config.mode, Mode::Observe);
    assert!(effective.config.warnings.is_empty());
    let without = super::effective(&Dir::new(&[("weir.yaml", "")]).paths()).unwrap();
    assert_eq!(effective.json(), without.json());
}

/// A key is commented out without a blank, a sentence with one.
#[test]
fn what_is_commented_out_in_it_holds_once_it_is_not() {
    let text = fs::read_to_string(packaging().join("config/weir.yaml")).unwrap();
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => key.to_owned(),
        Some(key) if key.starts_with("  ") && !key.starts_with("   ") => key.to_owned(),
        _ => line.to_owned(),
    };
    let text: Vec<String> = text.lines().map(uncommented).collect();
    let effective = super::effective(&Dir::new(&[("weir.yaml", &text.join("\n"))]).paths());
    let config = effective.unwrap().config;
    assert_eq!((&*config.environment, config.policy.rules.len()), ("prod", 3));
}

#[test]
fn every_example_loads() {
    let mut examples = 0;
    for entry in fs::read_dir(packaging().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let effective = super::effective(&Dir::new(&[("weir.yaml", &text)]).paths());
        let effective =
            effective.unwrap_or_else(|problems| panic!("{}: {problems}", path.display()));
        assert!(effective.config.mode >= Mode::Meter, "{}", path.display());
        examples += 1;
    }
    assert!(examples >= 4);
}
