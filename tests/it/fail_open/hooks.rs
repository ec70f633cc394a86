//! Hooks that somebody else holds.
#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper for exclusive attachment")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::Context;
use harness::{Route, curl, on_stage};
use serde_json::Value;

use super::{is_direct, is_metered};

/// By their numbers in the kernel's `enum bpf_cmd`, `bpf_prog_type`, `bpf_attach_type`.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const CGROUP_SKB: u32 = 8;
const SOCK_OPS: u32 = 13;
const CGROUP_SOCK_ADDR: u32 = 18;
const CONNECT4: (u32, u32) = (CGROUP_SOCK_ADDR, 10);

/// Every hook but connect4: what `weir status` calls it, type of program, hook.
const OTHERS: [(&str, u32, u32); 8] = [
    ("DNS answers", CGROUP_SKB, 0),
    ("sockops", SOCK_OPS, 3),
    ("connect6", CGROUP_SOCK_ADDR, 11),
    ("QUIC (sendmsg4)", CGROUP_SOCK_ADDR, 14),
    ("QUIC (sendmsg6)", CGROUP_SOCK_ADDR, 15),
    ("quic egress", CGROUP_SKB, 1),
    ("getpeername4", CGROUP_SOCK_ADDR, 29),
    ("getpeername6", CGROUP_SOCK_ADDR, 30),
];

/// Another's program at a hook, the old way, which suffers no other beside it. It stays as long as
/// the cgroup does.
struct Foreign {
    /// Held open, for somebody to be found by it.
    _program: OwnedFd,
}

impl Foreign {
    /// Lets everything pass.
    fn hold(cgroup: &File, (kind, hook): (u32, u32)) -> io::Result<Self> {
        // r0 = 1; exit
        let code: [u64; 2] = [0x0000_0001_0000_00b7, 0x0000_0000_0000_0095];
        let license = c"GPL";
        let mut load = [0_u8; 128];
        load[0..4].copy_from_slice(&kind.to_ne_bytes());
        load[4..8].copy_from_slice(&2_u32.to_ne_bytes());
        load[8..16].copy_from_slice(&(code.as_ptr() as u64).to_ne_bytes());
        load[16..24].copy_from_slice(&(license.as_ptr() as u64).to_ne_bytes());
        // expected_attach_type
        load[68..72].copy_from_slice(&hook.to_ne_bytes());
        let number = bpf(BPF_PROG_LOAD, &load)?;
        let number = i32::try_from(number).map_err(io::Error::other)?;
        // SAFETY: the kernel has just given it to us.
        let program = unsafe { OwnedFd::from_raw_fd(number) };
        let fd = |fd: i32| fd.unsigned_abs();
        // Target, program, hook, flags: none, that is exclusively.
        let attach = [fd(cgroup.as_raw_fd()), fd(program.as_raw_fd()), hook, 0];
        bpf(BPF_PROG_ATTACH, &attach.map(u32::to_ne_bytes).concat())?;
        Ok(Self { _program: program })
    }
}

fn bpf(command: libc::c_long, attr: &[u8]) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads as many bytes as it is told there are.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), attr.len()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
}

/// How whoever holds our programs is to be named.
fn ourselves() -> anyhow::Result<String> {
    let name = std::fs::read_to_string("/proc/self/comm")?;
    Ok(format!("{} (pid {})", name.trim(), std::process::id()))
}

fn row<'a>(status: &'a Value, hook: &str) -> anyhow::Result<&'a Value> {
    let rows = status["capabilities"].as_array().context("capabilities")?;
    rows.iter().find(|row| row["hook"] == hook).with_context(|| format!("{hook}: {status}"))
}

#[test]
fn with_every_other_hook_held_by_somebody_else_calls_over_ipv4_are_metered() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let cgroup = File::open(stage.inner().cgroup().path())?;
        let held = OTHERS.map(|(_, kind, hook)| Foreign::hold(&cgroup, (kind, hook)));
        let _held = held.into_iter().collect::<Result<Vec<_>, _>>()?;
        stage.start(&stage.config()).await?;
        let status = stage.daemon()?.read(&["status"]).await?;
        assert_eq!(status["capture"]["on"], true, "{status}");
        for (hook, _, _) in OTHERS {
            let row = row(&status, hook)?;
            assert_eq!(row["ok"], false, "{row}");
            let missing = row["missing"].as_str().unwrap_or_default();
            let by = format!("of {}", ourselves()?);
            assert!(missing.contains("held exclusively by program "), "{row}");
            assert!(missing.ends_with(&by), "{row}, not {by}");
            assert_ne!(row["consequence"], "", "{row}");
        }
        assert_eq!(row(&status, "connect4")?["ok"], true);

        assert!(is_metered(stage, &["-4"]).await?);
        // Without sockops its origin is asked for elsewhere, and is the same.
        let output = stage.succeed(Route::Redirect, &curl(&["-4"])).await?;
        let calls = stage.settled(2).await?;
        let call = calls.iter().find(|call| call["pid"] == output.pid).context("by its pid")?;
        assert_eq!((&call["outcome"], &call["user"]), (&"ok".into(), &"root".into()), "{call}");
        assert!(call["workload"].as_str().is_some_and(|name| name.contains("curl")), "{call}");
        assert!(!is_metered(stage, &["-6"]).await?, "IPv6 goes direct");
        Ok(())
    })
}

#[test]
fn with_connect4_held_by_somebody_else_that_one_is_named_and_connections_go_direct()
-> anyhow::Result<()> {
    on_stage(async |stage| {
        let cgroup = File::open(stage.inner().cgroup().path())?;
        let _held = Foreign::hold(&cgroup, CONNECT4)?;
        stage.start(&stage.config()).await?;
        let status = stage.daemon()?.read(&["status"]).await?;
        assert_eq!(status["capture"]["on"], false, "{status}");
        assert!(status.to_string().contains(&ourselves()?), "{status}");
        assert!(!is_metered(stage, &["-4"]).await?);
        assert!(!is_metered(stage, &["-6"]).await?);
        // Whoever comes by itself is served.
        let output = stage.succeed(Route::Proxy, &curl(&["-i"])).await?;
        assert!(!is_direct(&output), "{}", output.stdout);
        Ok(())
    })
}
