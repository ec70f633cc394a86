//! Which kernels can be had, which of them is meant by a word, and what of their packages is kept.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::Source;
use super::apt::Apt;
use crate::shell;

/// Debian's kernels for virtual machines: smaller, nearly everything the tests need built in.
const FLAVOUR: &str = "cloud-amd64";
/// Not built into them, in the order in which they are loaded: cables between network namespaces,
/// and the tables of sockets that `sock_diag` reads, which a real system loads when asked.
const MODULES: [&str; 3] = ["veth", "inet_diag", "tcp_diag"];

/// `6.12`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series(u32, u32);

impl Series {
    /// The first two numbers of a series, a release, or a package's name.
    fn of(text: &str) -> Option<Self> {
        let mut numbers = text.split(['.', '-', '+']).map(str::parse);
        Some(Self(numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

impl fmt::Display for Series {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.0, self.1)
    }
}

/// The newest of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kernel {
    pub(super) series: Series,
    /// As `uname -r` will say.
    pub(super) release: String,
}

/// What is kept of a kernel.
pub(super) struct Files {
    pub(super) vmlinuz: PathBuf,
    /// In the order in which they are loaded.
    pub(super) modules: Vec<PathBuf>,
}

impl Files {
    /// Where they are once downloaded.
    fn of(folder: &Path, release: &str) -> Self {
        let home = home(folder, release);
        let modules = MODULES.map(|name| home.join(format!("{name}.ko"))).to_vec();
        Self { vmlinuz: home.join("vmlinuz"), modules }
    }

    fn are_here(&self) -> bool {
        self.modules.iter().chain([&self.vmlinuz]).all(|file| file.is_file())
    }
}

/// The newest kernel of every series, oldest series first.
pub(super) fn known(folder: &Path, source: &Source) -> anyhow::Result<Vec<Kernel>> {
    let apt = Apt::new(folder);
    if source.refresh || !apt.is_there() {
        apt.update(source.mirror.as_deref())?;
    }
    let packages = apt.search(&format!("^linux-image-[0-9].*{FLAVOUR}$"))?;
    let known = newest(&packages);
    if known.is_empty() {
        bail!("the mirror has no kernels: try another one with --mirror, and --refresh");
    }
    Ok(known)
}

/// The kernel that a word means: `6.1`, or `host-like`. What was downloaded once is asked for only
/// when told to refresh.
pub(super) fn chosen(
    folder: &Path,
    word: &str,
    running: Option<&str>,
    source: &Source,
) -> anyhow::Result<Kernel> {
    let known = known(folder, source)?;
    let wanted = if word == "host-like" { running.unwrap_or_default() } else { word };
    let found = Series::of(wanted).and_then(|wanted| {
        if word == "host-like" {
            nearest(&known, wanted)
        } else {
            known.iter().find(|kernel| kernel.series == wanted)
        }
    });
    let all = || known.iter().map(|kernel| kernel.series.to_string()).collect::<Vec<_>>();
    let found = found.with_context(|| {
        format!("no kernel {word:?}; there are {} and host-like", all().join(", "))
    })?;
    Ok(found.clone())
}

pub(super) fn is_here(folder: &Path, release: &str) -> bool {
    Files::of(folder, release).are_here()
}

/// Downloads a kernel unless it is here, and tells where its files are.
pub(super) fn fetch(folder: &Path, kernel: &Kernel, source: &Source) -> anyhow::Result<Files> {
    let files = Files::of(folder, &kernel.release);
    if !files.are_here() {
        download(folder, kernel).with_context(|| {
            let hint = if source.refresh { "" } else { " (an old index? try --refresh)" };
            format!("download Linux {}{hint}", kernel.release)
        })?;
    }
    Ok(files)
}

fn home(folder: &Path, release: &str) -> PathBuf {
    folder.join("kernels").join(release)
}

fn download(folder: &Path, kernel: &Kernel) -> anyhow::Result<()> {
    let apt = Apt::new(folder);
    let release = &kernel.release;
    // Some keep the image, some the modules in packages of their own.
    let pattern = format!("^linux-(image|binary|modules)-{}$", release.replace(['.', '+'], "[.+]"));
    let packages = apt.search(&pattern)?;
    // The last step makes it valid.
    let work = folder.join(format!("kernel-{}", std::process::id()));
    let unpacked = work.join("packages");
    apt.unpack(&packages, &unpacked)?;
    let kept = work.join("kept");
    fs::create_dir_all(&kept)?;
    let modules = unpacked_modules(&unpacked, release)?;
    let inside = modules.join("vmlinuz");
    let beside = unpacked.join(format!("boot/vmlinuz-{release}"));
    let image = if inside.is_file() { inside } else { beside };
    fs::copy(&image, kept.join("vmlinuz"))
        .with_context(|| format!("no kernel image in {}", packages.join(", ")))?;
    for name in MODULES {
        let file = find(&modules, name)?.with_context(|| format!("no module {name}"))?;
        fs::write(kept.join(format!("{name}.ko")), plain(&file)?)?;
    }
    let home = home(folder, release);
    fs::create_dir_all(&home)?;
    // One that lacks something, or was made meanwhile.
    fs::remove_dir_all(&home)?;
    fs::rename(&kept, &home)?;
    Ok(fs::remove_dir_all(&work)?)
}

fn unpacked_modules(unpacked: &Path, release: &str) -> anyhow::Result<PathBuf> {
    let places = ["usr/lib/modules", "lib/modules"].map(|it| unpacked.join(it).join(release));
    let found = places.into_iter().find(|place| place.is_dir());
    found.with_context(|| format!("no modules of {release} in its packages"))
}

/// A module's file, whatever it is compressed with.
fn find(below: &Path, module: &str) -> anyhow::Result<Option<PathBuf>> {
    for entry in fs::read_dir(below)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if let Some(found) = find(&path, module)? {
                return Ok(Some(found));
            }
        } else if entry.file_name().to_string_lossy().starts_with(&format!("{module}.ko")) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// A module as the oldest of the kernels takes it.
fn plain(file: &Path) -> anyhow::Result<Vec<u8>> {
    let program = match file.extension().and_then(|it| it.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return Ok(fs::read(file)?),
    };
    let mut unpack = shell::command(program, &["-dc"]);
    let output = unpack.arg(file).output();
    let output = output.with_context(|| format!("{program} unpacks modules: install it"))?;
    anyhow::ensure!(output.status.success(), "{program} -dc {}", file.display());
    Ok(output.stdout)
}

/// The newest of each series among packages' names.
fn newest(packages: &[String]) -> Vec<Kernel> {
    let mut all: Vec<_> = packages
        .iter()
        .filter_map(|name| {
            let release = name.strip_prefix("linux-image-")?;
            let numbers: Vec<u32> = release
                .split(|char: char| !char.is_ascii_digit())
                .filter_map(|number| number.parse().ok())
                .collect();
            let kernel = Kernel { series: Series::of(release)?, release: release.to_owned() };
            Some((kernel, numbers))
        })
        .collect();
    all.sort_by(|(a, older), (b, newer)| a.series.cmp(&b.series).then(newer.cmp(older)));
    all.dedup_by_key(|(kernel, _)| kernel.series);
    all.into_iter().map(|(kernel, _)| kernel).collect()
}

/// The series itself, or else the next one, or else the last.
fn nearest(known: &[Kernel], wanted: Series) -> Option<&Kernel> {
    known.iter().find(|kernel| kernel.series >= wanted).or_else(|| known.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<Kernel> {
        newest(
            &[
                "linux-image-6.12.95+deb12-cloud-amd64",
                "linux-image-6.1.0-9-cloud-amd64",
                "linux-image-6.1.0-50-cloud-amd64",
                "linux-image-6.12.107+deb13-cloud-amd64",
                "linux-image-cloud-amd64",
                "linux-image-5.10.0-32-cloud-amd64",
            ]
            .map(str::to_owned),
        )
    }

    #[test]
    fn the_newest_of_each_series_is_offered() {
        let releases: Vec<_> = some().into_iter().map(|kernel| kernel.release).collect();
        let expected =
            ["5.10.0-32-cloud-amd64", "6.1.0-50-cloud-amd64", "6.12.107+deb13-cloud-amd64"];
        assert_eq!(releases, expected);
    }

    #[test]
    fn the_nearest_is_the_next_or_the_last() {
        let series = |wanted| nearest(&some(), wanted).map(|kernel| kernel.series);
        assert_eq!(series(Series(6, 1)), Some(Series(6, 1)));
        assert_eq!(series(Series(5, 15)), Some(Series(6, 1)));
        assert_eq!(series(Series(7, 0)), Some(Series(6, 12)));
        assert_eq!(nearest(&[], Series(6, 1)), None);
    }

    #[test]
    fn a_series_is_read_from_a_release() {
        assert_eq!(Series::of("6.18.44-fc-v669"), Some(Series(6, 18)));
        assert_eq!(Series::of("6.1"), Some(Series(6, 1)));
        assert_eq!(Series::of("new"), None);
    }
}
