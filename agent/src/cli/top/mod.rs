//! `weir top`: who is spending what right now, as a screen that follows.
//!
//! What is shown is decided in [`state`], from keys and from answers that [`feed`] brings in the
//! background; [`draw`] puts it on the screen, which [`screen`] takes over and gives back.

mod grid;
mod tab;
mod rows;
mod data;
mod rates;
mod keys;
mod view;
mod pane;
mod state;
mod feed;
mod theme;
mod draw;
mod screen;
#[cfg(test)]
mod fixtures;

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use anyhow::Context;
use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use self::feed::Feed;
use self::keys::Input;
use self::screen::Screen;
use self::state::{App, Effect};
use self::theme::Theme;
use super::client::Client;
use super::when::span;
use super::{Ctx, Exit};
use crate::clock::{Clock, System};
use crate::drain::Drain;

/// Longest interval: beyond it, nothing on the screen is what is.
const SELDOM: Duration = Duration::from_hours(1);
/// Answers, and questions, that wait for the other side.
const WAITING: usize = 4;
/// Keys taken at once before the screen is drawn again.
const AT_ONCE: usize = 64;

/// Who is spending what right now.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Keys: 1-6 or Tab choose a tab, s and S sort, / filters, t shows processes as a
tree, Enter tells everything about a row, p pauses, ? shows all keys, q quits.

Examples:
  weir top
  weir top --interval 10s
  NO_COLOR=1 weir top")]
pub(super) struct Args {
    /// How often the agent is asked
    #[arg(long, value_name = "SPAN", default_value = "2s", value_parser = interval)]
    interval: Duration,
    /// Without colours, as with the variable `NO_COLOR`
    #[arg(long)]
    no_color: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = span(text)?;
    if interval > SELDOM { Err("at most 1h".to_owned()) } else { Ok(interval) }
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    screen::check()?;
    // Answers are read on a thread of their own: keys do not wait for them.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let outcome = runtime.block_on(follow(args, ctx));
    runtime.shutdown_background();
    outcome
}

async fn follow(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    // Who never heard of an agent is told so before the screen changes.
    drop(Client::connect(ctx).await?);
    let mut stops = Stops::new()?;
    let mut app = App::new(ctx.clone(), args.interval);
    let theme = Theme { colour: ctx.colour && !args.no_color };

    let (wanted, asked) = watch::channel(app.wanted());
    let (tell, calls) = mpsc::channel(WAITING);
    let (news, mut heard) = mpsc::channel(WAITING);
    let feed = Feed { ctx: Arc::new(ctx.clone()), wanted: asked, calls, news };
    // It ends when this end of its channels is gone.
    drop(Drain::new().spawn(feed.run()));

    let mut screen = Screen::enter().context("the terminal")?;
    let mut events = EventStream::new();
    // Ages and the time of day go on between answers.
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        app.tick(System.now(), screen.size());
        screen.draw(|frame| draw::draw(frame, &app, theme))?;
        let mut effect = Effect::Nothing;
        tokio::select! {
            event = events.next() => effect = on_event(&mut app, &mut screen, event)?,
            answer = heard.recv() => app.news(answer.context("asking the agent has ended")?),
            _ = second.tick() => {}
            () = stops.any() => return Ok(Exit::Ok),
        }
        // What was typed meanwhile is not drawn key by key.
        for _ in 0..AT_ONCE {
            let Effect::Nothing = effect else { break };
            let Some(event) = waiting(&mut events).await else { break };
            effect = on_event(&mut app, &mut screen, event)?;
        }
        match effect {
            Effect::Nothing => {}
            Effect::Quit => return Ok(Exit::Ok),
            // Where it cannot be asked now, the next Enter asks again.
            Effect::Tell(call) => {
                tell.try_send(call).ok();
            }
        }
        wanted.send_if_modified(|known| std::mem::replace(known, app.wanted()) != app.wanted());
    }
}

/// An event that has come already. It is asked for with this task's own waker: the stream keeps the first
/// it is given until an event comes.
async fn waiting(events: &mut EventStream) -> Option<Option<io::Result<Event>>> {
    poll_fn(|context| {
        Poll::Ready(match events.poll_next_unpin(context) {
            Poll::Ready(event) => Some(event),
            Poll::Pending => None,
        })
    })
    .await
}

fn on_event(
    app: &mut App,
    screen: &mut Screen,
    event: Option<io::Result<Event>>,
) -> anyhow::Result<Effect> {
    match event {
        // The terminal is gone.
        None => Ok(Effect::Quit),
        Some(Ok(Event::Key(key))) => {
            Ok(Input::of(key).map_or(Effect::Nothing, |input| app.key(input)))
        }
        Some(Ok(Event::Resize(columns, rows))) => {
            screen.resized((columns, rows)).context("the terminal")?;
            Ok(Effect::Nothing)
        }
        Some(Ok(_)) => Ok(Effect::Nothing),
        Some(Err(fault)) => Err(fault).context("the terminal"),
    }
}

/// Signals that end it, with the terminal as it was.
#[derive(Debug)]
struct Stops([Signal; 3]);

impl Stops {
    fn new() -> io::Result<Self> {
        let [terminate, interrupt, hangup] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        Ok(Self([terminate?, interrupt?, hangup?]))
    }

    async fn any(&mut self) {
        let Self([terminate, interrupt, hangup]) = self;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_from_a_second_to_an_hour() {
        assert_eq!(interval("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(interval("1h"), Ok(SELDOM));
        for text in ["", "2", "500ms", "0s", "61m", "never"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
