//! The programs cannot be loaded: somebody says why, and connections go where they were going.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use harness::{Route, Stage, artefacts, curl, on_stage};
use serde_json::Value;

use super::{is_direct, is_metered};

/// Starts its arguments with bpf(2) refusing to load a program, as its verifier does: with EACCES.
const REFUSING: &str = r#"#!/usr/bin/env python3
import ctypes, os, platform, struct, sys
BPF, (ARCH, CALL) = 5, {"x86_64": (0xc000003e, 321), "aarch64": (0xc00000b7, 280)}[platform.machine()]
LOAD, EQUAL, RETURN, ALLOW, REFUSE = 0x20, 0x15, 0x06, 0x7fff0000, 0x00050000 | 13
code = [(LOAD, 0, 0, 4), (EQUAL, 0, 5, ARCH), (LOAD, 0, 0, 0), (EQUAL, 0, 3, CALL),
        (LOAD, 0, 0, 16), (EQUAL, 0, 1, BPF), (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)]
words = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *word) for word in code))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code), ctypes.addressof(words)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
    sys.exit(os.strerror(ctypes.get_errno()))
os.execv("WEIR", ["WEIR"] + sys.argv[1:])
"#;
const WITHOUT: &str = "#!/bin/sh\nexec setpriv --bounding-set=-perfmon,-sys_admin WEIR \"$@\"\n";

/// Starts the agent by a script that ends in running it.
async fn start(stage: &mut Stage, script: &str) -> anyhow::Result<()> {
    let path = stage.scratch().join("starter");
    fs::write(&path, script.replace("WEIR", &artefacts::weir()?.display().to_string()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    let config = stage.config();
    stage.start_by(&path, &config).await
}

/// What everybody finds whose kernel half is not there for this reason.
async fn goes_direct(stage: &Stage, reason: &str) -> anyhow::Result<()> {
    let status: Value = stage.daemon()?.read(&["status"]).await?;
    assert_eq!(status["capture"]["on"], false, "{status}");
    assert_eq!(status["state"], "degraded", "{status}");
    let told = status["capture"]["reason"].as_str().unwrap_or_default();
    assert!(told.contains(reason), "{told:?} says nothing of {reason:?}");
    for version in ["-4", "-6"] {
        assert!(!is_metered(stage, &[version]).await?, "{version}");
    }
    // Whoever comes by itself is served.
    let output = stage.succeed(Route::Proxy, &curl(&["-i"])).await?;
    assert!(!is_direct(&output), "{}", output.stdout);
    Ok(())
}

#[test]
fn without_a_capability_that_one_is_named() -> anyhow::Result<()> {
    on_stage(async |stage| {
        start(stage, WITHOUT).await?;
        goes_direct(stage, "the kernel half needs CAP_PERFMON").await
    })
}

#[test]
fn refused_by_the_kernel_the_program_is_named_and_what_the_kernel_said() -> anyhow::Result<()> {
    on_stage(async |stage| {
        start(stage, REFUSING).await?;
        goes_direct(stage, "connect4 cannot be attached").await?;
        goes_direct(stage, "Permission denied").await
    })
}
