//! What goes into packages, as systemd, the shell and the packagers read it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::shell;

fn packaging() -> PathBuf {
    shell::root().join("agent/packaging")
}

/// The unit alone, and with each of the drop-ins. The program it names need not be installed.
fn units() -> Vec<(String, String)> {
    let unit = fs::read_to_string(packaging().join("systemd/weir.service")).unwrap();
    let unit = unit.replace("/usr/bin/weir", "/bin/true");
    let mut units = vec![("alone".to_owned(), unit.clone())];
    for entry in fs::read_dir(packaging().join("drop-ins")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "conf") {
            let drop_in = fs::read_to_string(&path).unwrap();
            let (_, settings) = drop_in.split_once("[Service]\n").expect("settings of a service");
            let unit = unit.replace("\n[Install]", &format!("{settings}\n[Install]"));
            units.push((path.file_name().unwrap().to_string_lossy().into_owned(), unit));
        }
    }
    assert_eq!(units.len(), 5);
    units
}

/// Runs `systemd-analyze` on a unit; what it said, and whether it was content. `None` without it.
fn analyze(arguments: &[&str], name: &str, unit: &str) -> Option<(bool, String)> {
    if !shell::runs("systemd-analyze", &["--version"]) {
        eprintln!("systemd-analyze is not installed: passed over");
        return None;
    }
    let directory = std::env::temp_dir().join(format!("weir-unit-{}-{name}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join("weir.service");
    fs::write(&path, unit).unwrap();
    let output = Command::new("systemd-analyze").args(arguments).arg(&path).output().unwrap();
    fs::remove_dir_all(&directory).unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn systemd_understands_every_setting() {
    for (name, unit) in units() {
        let Some((ok, said)) = analyze(&["verify", "--man=no"], &format!("v-{name}"), &unit) else {
            return;
        };
        assert!(ok && said.trim().is_empty(), "{name}: {said}");
    }
}

#[test]
fn exposure_is_low_and_what_is_left_is_explained() {
    let page = fs::read_to_string(shell::root().join("agent/docs/hardening.md")).unwrap();
    for (name, unit) in units() {
        let security = ["security", "--offline=true", "--no-pager"];
        let Some((_, said)) = analyze(&security, &format!("s-{name}"), &unit) else { return };
        let exposure = said.split("exposure level for weir.service: ").nth(1);
        let exposure = exposure.and_then(|rest| rest.split(' ').next()).expect("a figure");
        let exposure: f64 = exposure.parse().unwrap();
        let most = if name == "containers.conf" { 2.6 } else { 2.5 };
        assert!(exposure <= most, "{name}: {exposure}\n{said}");
        if name != "alone" {
            continue;
        }
        for line in said.lines().filter_map(|line| line.strip_prefix('✗')) {
            let check = line.split_whitespace().next().unwrap_or_default();
            let check = check.trim_start_matches("CapabilityBoundingSet=~").replace('|', "\\|");
            let check = check.trim_end_matches('=');
            assert!(page.contains(check), "hardening.md does not explain {check}");
        }
    }
}

#[test]
fn scripts_are_scripts() {
    let mut scripts = 0;
    for directory in ["deb", "rpm"] {
        for entry in fs::read_dir(packaging().join(directory)).unwrap() {
            let path = entry.unwrap().path();
            let read = Command::new("sh").arg("-n").arg(&path).output().unwrap();
            assert!(read.status.success(), "{read:?}");
            let text = fs::read_to_string(&path).unwrap();
            // Scripts of this kind get what the unit takes put in here.
            assert_eq!(text.contains("#DEBHELPER#"), directory == "deb", "{}", path.display());
            scripts += 1;
        }
    }
    assert_eq!(scripts, 7);
}

#[test]
fn debian_and_the_others_undo_trust_before_the_program_goes() {
    for script in ["deb/prerm", "rpm/preun.sh"] {
        let text = fs::read_to_string(packaging().join(script)).unwrap();
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{script}: no {what}"));
        // Stopped first: nobody is shown a certificate that is trusted no longer.
        let stop =
            if script.starts_with("deb") { "invoke stop weir" } else { "disable --now weir" };
        assert!(at(stop) < at("trust uninstall"), "{script}");
    }
}
