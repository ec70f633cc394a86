//! `helper`: what a question to the privileged side costs, answered within this process and over the
//! socket to the helper process.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agent::capture::Helper;
use agent::capture::helper::{Kind, Wish};
use agent::capture::identity::Identities;
use agent::clock::since_boot;
use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::json;

use crate::rig::weir;

/// Questions measured at a time; the median of such batches is told.
const BATCH: usize = 50;

/// How much.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
    /// Questions of each kind
    #[arg(long, default_value_t = 20_000)]
    questions: usize,
}

/// Microseconds a question, the middle and the far end of batches.
#[derive(Debug, Clone, Copy, Serialize)]
struct Spread {
    median_us: f64,
    p99_us: f64,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
enum Question {
    /// Who a process is that is not known yet.
    New,
    /// Whether a process is still the one it was.
    Same,
    /// A socket that the programs leave alone.
    Socket,
}

const QUESTIONS: [(Question, &str, &str); 3] = [
    (Question::New, "identify_new", "Identify, a process not met before"),
    (Question::Same, "identify_same", "Identify, the same process again"),
    (Question::Socket, "socket", "Socket"),
];

/// Measures and reports.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "needs root, as the helper process does");
    let within = Helper::in_process();
    let mut command = Command::new(weir()?);
    command.args(["helper", "keep", "warn", "text"]);
    let across = Helper::start(command).context("start the helper process")?;
    let asked = Asked::start()?;
    let mut summary = serde_json::Map::new();
    for (question, word, told) in QUESTIONS {
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        // In turns, so that both meet the same machine; the first of each opens what stays open.
        for round in 0..=options.questions.div_ceil(BATCH) {
            for (helper, spent) in [(&within, &mut inside), (&across, &mut outside)] {
                let took = asked.batch(question, helper)?;
                if round > 0 {
                    spent.push(took);
                }
            }
        }
        let (inside, outside) = (spread(inside), spread(outside));
        println!(
            "{told}: {:.1} us in process, {:.1} us over the socket (p99 of batches {:.1} and {:.1})",
            inside.median_us, outside.median_us, inside.p99_us, outside.p99_us
        );
        summary.insert(word.to_owned(), json!({"in_process": inside, "socket": outside}));
    }
    if options.json {
        summary.insert("schema_version".to_owned(), 1.into());
        println!("{}", serde_json::Value::Object(summary));
    }
    Ok(())
}

/// Processes to ask about; dropped, they end.
struct Asked(Vec<Child>);

impl Asked {
    fn start() -> anyhow::Result<Self> {
        let mut this = Self(Vec::new());
        for _ in 0..BATCH {
            let mut command = Command::new("sleep");
            command.arg("600").stdin(Stdio::null()).stdout(Stdio::null());
            this.0.push(command.spawn().context("start a process to ask about")?);
        }
        Ok(this)
    }

    /// Microseconds a question.
    fn batch(&self, question: Question, helper: &Helper) -> anyhow::Result<f64> {
        const NO_APPS: [&str; 0] = [];
        let identities = Identities::new(helper.clone(), NO_APPS);
        let first = self.0.first().map(Child::id).context("a process to ask about")?;
        if let Question::Same = question {
            identities.of_pid(first).context("the process is there")?;
        }
        let start = since_boot();
        for child in &self.0 {
            match question {
                Question::New => {
                    identities.of_pid(child.id()).context("the process is there")?;
                }
                Question::Same => {
                    identities.of_pid(first).context("the process is there")?;
                }
                Question::Socket => {
                    let (mark, device, netns) = (None, None, None);
                    let wish = Wish { kind: Kind::Stream, v6: false, mark, device, netns };
                    drop(helper.socket(wish)?);
                }
            }
        }
        let took: Duration = since_boot().saturating_sub(start);
        #[expect(clippy::cast_precision_loss, reason = "a number of questions")]
        Ok(took.as_secs_f64() * 1e6 / self.0.len() as f64)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended by itself.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn spread(mut series: Vec<f64>) -> Spread {
    series.sort_by(f64::total_cmp);
    let at = |place: usize| series.get(place).copied().unwrap_or_default();
    Spread { median_us: at(series.len() / 2), p99_us: at(series.len() * 99 / 100) }
}
