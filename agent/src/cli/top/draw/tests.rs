//! The screen as it is seen, at 80×24 and at 200×50.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::super::data::{News, Part};
use super::super::fixtures::{app, begin, ctx, empty, snapshot};
use super::super::keys::Input;
use super::*;

const PLAIN: Theme = Theme { colour: false };

fn buffer(app: &App, (columns, rows): (u16, u16), theme: Theme) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(frame, app, theme)).unwrap();
    terminal.backend().buffer().clone()
}

/// The lines of the screen, without the blanks at their ends.
fn lines(app: &App, size: (u16, u16)) -> Vec<String> {
    let buffer = buffer(app, size, PLAIN);
    let line = |row| {
        let mut line = String::new();
        let mut column = 0;
        while column < size.0 {
            let symbol = buffer[(column, row)].symbol();
            line.push_str(symbol);
            // The second half of a wide character is not drawn.
            column += width(symbol).max(1);
        }
        line.trim_end().to_owned()
    };
    (0..size.1).map(line).collect()
}

/// What is on the screen but for empty lines; the last one has the keys.
fn seen(app: &App, size: (u16, u16)) -> String {
    let lines = lines(app, size);
    assert!(lines.last().unwrap().ends_with(|c: char| !c.is_whitespace()), "{lines:#?}");
    lines.into_iter().filter(|line| !line.is_empty()).map(|line| line + "\n").collect()
}

fn on(tab: char, size: (u16, u16)) -> String {
    let mut app = app(size);
    app.key(Input::Char(tab));
    seen(&app, size)
}

const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (200, 50);

/// A screen on which nothing was seen yet.
fn on_empty(tab: Tab, size: (u16, u16)) -> String {
    let mut app = App::new(ctx(), std::time::Duration::from_secs(2));
    app.tick(begin(), size);
    app.key(Input::Char(char::from_digit(u32::try_from(tab.index()).unwrap() + 1, 10).unwrap()));
    app.news(snapshot(empty(tab), begin()));
    seen(&app, size)
}

const HEAD_SMALL: &str = r"weir 0.1.0  metering  coverage 93%  1 warning                 every 2s  14:03:22
today $18.42  1,234 calls  1.0 calls/s  210 tokens/s  $36.00/h  2 unpriced
 1 Processes  2 Models  3 Calls  4 Budgets  5 Breakers  6 Health
";

const TABS_SMALL: [&str; 6] = [
    r" PID WORKLOAD                 USER  PROVIDER  CONNS CALLS   COST▼ COVERAGE  SEEN
4712 unit:batch-agent.service batch openai        4    40   $1.50 metered    20s
4711 unit:batch-agent.service batch openai        4    12 $0.4216 metered    20s
 902 exe:curl                 alice openai        4     1 $0.0003 metered    20s
 950 exe:tool                 alice anthropic     2     0       - untrusted  20s
Enter detail  / filter  s sort  S reverse  t tree  p pause  ? help  q quit   1/4
",
    r"MODEL             PROVIDER  CALLS   IN CACHED  OUT  COST▼ SHARE ERRORS REASONING
claude-sonnet-4-5 anthropic   232 100k      0 2.0k $15.00   81%      0         0
gpt-4o-mini       openai    1,000 250k  50.0k 8.5k  $3.42   18%      3       500
house-model       openai        2   10      0   10      ?    0%      0         0
Enter detail  / filter  s sort  S reverse  p pause  ? help  q quit           1/3
",
    r"TIME▼    WORKLOAD       MODEL                 STAT   IN OUT    COST  TOOK ID
14:03:03 exe:curl       gpt-4o-mini           open 1.2k 300       ?     ? 000003
14:03:02 exe:curl       gpt-4o-mini-2024-07-… 429  1.2k   0   $0.00 830ms 000002
14:03:01 exe:curl       gpt-4o-mini-2024-07-… 200  1.2k 300 $0.0003 830ms 000001
Enter detail  / filter  s sort  S reverse  p pause  ? help  q quit           1/3
",
    r"BUDGET                PER  SPENT  LIMIT           USED▼ STATE RUNS OUT RESETS
batch                 day $10.40 $10.00 ########## 104% over  spent    in 9h 56m
code-reviewer         day  $8.40 $10.00 ########--  84% near  in 2h 6m in 9h 56m
nightly of user:alice day  $1.20 $10.00 #---------  12% ok    in 2h 6m in 9h 56m
Enter detail  / filter  s sort  S reverse  p pause  ? help  q quit           1/3
",
    r"BREAKER          STATE  FOR PROBES IN A ROW    FAILED OPENED REASON
openai           open   20s in 10s        5 50% of 10      1 5 failures in a row
anthropic        closed -   -             0 0% of 232      0
Enter detail  / filter  s sort  S reverse  p pause  ? help  q quit           1/2
",
    r"CHECK         STATE   WHAT                              FIX
warning       warning 2 connections were not read: unt… weir doctor
agent         ok      weir 0.1.0, metering, pid 812, s…
mode          ok      meter
added time    -       0.3ms p50, 2.4ms p99
proxy         -       127.0.0.1:4180
capture       ok      on
hook connect4 ok      works
trust         ok      system store
coverage      warning coverage 93% (31 of 33 connectio… weir doctor
policies      -       3, 1 shadow, none acts in this m…
prices        -       2026-11-20
Enter detail  / filter  s sort  S reverse  p pause  ? help  q quit          1/11
",
];

const HEAD_LARGE: &str = r"weir 0.1.0  metering  coverage 93%  1 warning                                                                                                                                         every 2s  14:03:22
today $18.42  1,234 calls  1.0 calls/s  210 tokens/s  $36.00/h  2 unpriced
 1 Processes  2 Models  3 Calls  4 Budgets  5 Breakers  6 Health
";

const TABS_LARGE: [&str; 6] = [
    r" PID WORKLOAD                 USER  PROVIDER  CONNS CALLS   COST▼ COVERAGE      SENT RECEIVED SEEN COMMAND
4712 unit:batch-agent.service batch openai        4    40   $1.50 metered   41.0 KiB  1.2 MiB  20s python3 agent.py --all
4711 unit:batch-agent.service batch openai        4    12 $0.4216 metered   41.0 KiB  1.2 MiB  20s python3 agent.py --all
 902 exe:curl                 alice openai        4     1 $0.0003 metered   41.0 KiB  1.2 MiB  20s curl https://api.openai.com/v1/models
 950 exe:tool                 alice anthropic     2     0       - untrusted    900 B  2.9 KiB  20s tool \u{1b}[31mred
Enter detail  / filter  s sort  S reverse  t tree  p pause  ? help  q quit                                                                                                                           1/4
",
    r"MODEL             PROVIDER  CALLS   IN CACHED  OUT  COST▼ SHARE ERRORS REASONING UNPRICED ESTIMATED
claude-sonnet-4-5 anthropic   232 100k      0 2.0k $15.00   81%      0         0        0         0
gpt-4o-mini       openai    1,000 250k  50.0k 8.5k  $3.42   18%      3       500        0         0
house-model       openai        2   10      0   10      ?    0%      0         0        2         0
Enter detail  / filter  s sort  S reverse  p pause  ? help  q quit                                                                                                                                   1/3
",
    r"TIME▼    WORKLOAD       MODEL                  STAT   IN OUT    COST  TOOK ID     TTFT PROVIDER PID USER  ERROR
14:03:03 exe:curl       gpt-4o-mini            open 1.2k 300       ?     ? 000003    - openai   902 alice
14:03:02 exe:curl       gpt-4o-mini-2024-07-18 429  1.2k   0   $0.00 830ms 000002    - openai   902 alice Rate limit exceeded
14:03:01 exe:curl       gpt-4o-mini-2024-07-18 200  1.2k 300 $0.0003 830ms 000001    - openai   902 alice
Enter detail  / filter  s sort  S reverse  p pause  ? help  q quit                                                                                                                                   1/3
",
    r"BUDGET                PER  SPENT RESERVED  LIMIT           USED▼ STATE RUNS OUT RESETS    THEN REACH
batch                 day $10.40    $0.00 $10.00 ########## 104% over  spent    in 9h 56m deny enforce
code-reviewer         day  $8.40    $0.00 $10.00 ########--  84% near  in 2h 6m in 9h 56m deny enforce
nightly of user:alice day  $1.20    $0.00 $10.00 #---------  12% ok    in 2h 6m in 9h 56m deny enforce
Enter detail  / filter  s sort  S reverse  p pause  ? help  q quit                                                                                                                                   1/3
",
    r"BREAKER          STATE  FOR PROBES IN A ROW    FAILED OPENED REASON
openai           open   20s in 10s        5 50% of 10      1 5 failures in a row
anthropic        closed -   -             0 0% of 232      0
Enter detail  / filter  s sort  S reverse  p pause  ? help  q quit                                                                                                                                   1/2
",
    r"CHECK         STATE   WHAT                                                                FIX
warning       warning 2 connections were not read: untrusted                              weir doctor
agent         ok      weir 0.1.0, metering, pid 812, since 2026-11-22 08:00:22 (up 6h 3m)
mode          ok      meter
added time    -       0.3ms p50, 2.4ms p99
proxy         -       127.0.0.1:4180
capture       ok      on
hook connect4 ok      works
trust         ok      system store
coverage      warning coverage 93% (31 of 33 connections), 2 untrusted                    weir doctor
policies      -       3, 1 shadow, none acts in this mode
prices        -       2026-11-20
Enter detail  / filter  s sort  S reverse  p pause  ? help  q quit                                                                                                                                  1/11
",
];

const TREE: &str = r" PID WORKLOAD                 USER  PROVIDER  CONNS CALLS   COST▼ COVERAGE  SEEN
     ▾ batch                                      8    52   $1.92
       ▾ unit:batch-agent.se…                     8    52   $1.92
4712     ├ python3.11         batch openai        4    40   $1.50 metered    20s
4711     └ python3.11         batch openai        4    12 $0.4216 metered    20s
     ▾ alice                                      6     1 $0.0003
       ▾ exe:curl                                 4     1 $0.0003
 902     └ curl               alice openai        4     1 $0.0003 metered    20s
       ▾ exe:tool                                 2     0       -
 950     └ tool               alice anthropic     2     0       - untrusted  20s
Enter detail  Space fold  s sort  S reverse  t list  p pause  ? help  q quit
";

const DETAIL: &str = r"process 950
process    950  exe:tool  user alice
           tool \u{1b}[31mred
coverage   untrusted
calls      0, -
last seen  2026-11-22 14:03:02
talks to   anthropic, 2 connections opaque: untrusted, 900 B up, 2.9 KiB down
why        untrusted
cause      it brings roots of its own
fix        weir run -- tool
Esc back  ↑↓ scroll  q back  Ctrl-C quit
";

const EMPTY: [&str; 5] = [
    r"PID WORKLOAD         USER PROVIDER CONNS CALLS COST▼ COVERAGE SENT RECEIVED SEEN
  no process has talked to an LLM provider in the last 24 hours
  → weir doctor
Enter detail  / filter  s sort  S reverse  t tree  p pause  ? help  q quit
",
    r"MODEL            PROVIDER CALLS IN CACHED OUT COST▼ SHARE ERRORS REASONING
  no calls today
  → weir doctor
Enter detail  / filter  s sort  S reverse  p pause  ? help  q quit
",
    r"TIME▼ WORKLOAD       MODEL          STAT IN OUT COST TOOK ID TTFT PROVIDER PID
  no calls yet
  → weir doctor
Enter detail  / filter  s sort  S reverse  p pause  ? help  q quit
",
    r"BUDGET         PER SPENT RESERVED LIMIT USED▼ STATE RUNS OUT RESETS THEN REACH
  nothing was spent of any budget, or none is set
  → weir policy list
Enter detail  / filter  s sort  S reverse  p pause  ? help  q quit
",
    r"BREAKER          STATE FOR PROBES IN A ROW FAILED OPENED REASON
  no provider has been asked yet
  → weir doctor
Enter detail  / filter  s sort  S reverse  p pause  ? help  q quit
",
];

#[test]
fn every_tab_on_a_small_and_on_a_large_screen() {
    for (size, head, tabs) in [(SMALL, HEAD_SMALL, TABS_SMALL), (LARGE, HEAD_LARGE, TABS_LARGE)] {
        for (tab, rows) in ('1'..='6').zip(tabs) {
            assert_eq!(on(tab, size), format!("{head}{rows}"), "{tab} {size:?}");
        }
    }
}

#[test]
fn processes_as_a_tree_and_one_of_them_in_detail() {
    let mut app = app(SMALL);
    app.key(Input::Char('t'));
    assert_eq!(seen(&app, SMALL), format!("{HEAD_SMALL}{TREE}"));
    app.key(Input::Char('t'));
    app.key(Input::End);
    app.key(Input::Enter);
    assert_eq!(seen(&app, SMALL), format!("{HEAD_SMALL}{DETAIL}"));
}

#[test]
fn an_empty_tab_says_why_it_is() {
    for size in [SMALL, LARGE] {
        for tab in Tab::ALL.into_iter().filter(|tab| *tab != Tab::Health) {
            let [what, look] = tab.nothing();
            let seen = on_empty(tab, size);
            assert!(seen.contains(what) && seen.contains(&format!("→ {look}")), "{seen}");
        }
    }
    for (tab, rows) in Tab::ALL.into_iter().zip(EMPTY) {
        let seen = on_empty(tab, SMALL);
        let below: Vec<&str> = seen.lines().skip(3).collect();
        assert_eq!(below, rows.lines().collect::<Vec<_>>());
    }
    let mut app = app(SMALL);
    app.key(Input::Char('/'));
    app.key(Input::Char('€'));
    let shown = seen(&app, SMALL);
    assert!(
        shown.contains("nothing matches €") && shown.ends_with("/€▏  Enter keeps, Esc clears\n")
    );
    app.key(Input::Enter);
    assert!(seen(&app, SMALL).ends_with("\n/€  of 4  Esc clears it  ? help  q quit\n"));
    let untold = App::new(ctx(), std::time::Duration::from_secs(2));
    assert!(seen(&untold, SMALL).contains("asking the agent …"));
}

#[test]
fn an_agent_that_is_gone_is_in_the_first_line_above_what_was_known() {
    let mut app = app(SMALL);
    app.news(News::Lost("no agent answers on /run/weir/weir.sock".to_owned()));
    let lines = lines(&app, SMALL);
    assert_eq!(
        lines[0],
        "no agent answers on /run/weir/weir.sock; trying again         every 2s  14:03:22"
    );
    assert!(lines[1].starts_with("today $18.42  1,234 calls  - calls/s"), "{}", lines[1]);
    assert!(lines[4].contains("unit:batch-agent.service"), "{}", lines[4]);
}

#[test]
fn whatever_the_size_there_is_a_screen() {
    for columns in [1, 2, 7, 20, 79, 300] {
        for rows in [1, 2, 4, 5, 6, 25] {
            let mut app = app((columns, rows));
            for key in ['1', 't', '2', '3', '4', '5', '6', '?'] {
                app.key(Input::Char(key));
                app.tick(begin(), (columns, rows));
                assert_eq!(buffer(&app, (columns, rows), PLAIN).area.width, columns);
            }
        }
    }
}

#[test]
fn colours_are_only_where_they_are_wanted() {
    let coloured = |theme| {
        let mut app = app(SMALL);
        app.news(snapshot(Part::Health, begin()));
        let buffer = buffer(&app, SMALL, theme);
        buffer.content.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(coloured(Theme { colour: true }));
    assert!(!coloured(PLAIN));
}
