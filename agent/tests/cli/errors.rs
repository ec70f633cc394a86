//! `weir errors`.

use crate::fake::{Stage, assert_fits};
use crate::lines;

#[test]
fn classes_and_availability_are_shown() {
    let stage = Stage::new();
    let ran = stage.run("errors --since 2026-11-20T00:00:00Z --until 2026-11-22T00:00:00Z");
    let out = ran.ok();
    assert_fits(&out);
    assert_eq!(
        lines(&out),
        [
            "since 2026-11-20 00:00:00 until 2026-11-22 00:00:00",
            "1,412 calls, 9 did not end well (0.63%)",
            "",
            "CLASS         FAILED   SHARE  OF CALLS",
            "server_error       6   75.0%        40",
            "timeout            2   25.0%        40",
            "refused            1  100.0%     1,372",
            "",
            "PROVIDER  AVAILABLE  FAILED  OF TRIES",
            "openai       99.43%       8     1,411",
        ]
    );
    let out = stage.run("errors --by workload").ok();
    assert!(lines(&out)[3].starts_with("WORKLOAD"), "{out}");
    let json = stage.run("errors --by workload --json").json();
    assert_eq!((&json["errors"], &json["rows"][2]["key"]), (&9.into(), &"exe:curl".into()));
    assert_eq!(json["rows"][0]["class"], "server_error");
}

#[test]
fn a_spreadsheet_runs_nothing_and_nobody_sees_anothers() {
    let stage = Stage::new();
    let csv = stage.run("errors --by workload --csv").ok();
    assert_eq!(lines(&csv)[0], "key,class,count,percent,calls");
    assert_eq!(lines(&csv)[3], "exe:curl,refused,1,100.00,1372");
    assert!(stage.run_as_nobody("errors").ok().ends_with("\n\nno calls\n"));
    for wrong in ["errors --by user", "errors --json --csv", "errors --since soon"] {
        assert_eq!(stage.run(wrong).code, 2, "{wrong}");
    }
}
