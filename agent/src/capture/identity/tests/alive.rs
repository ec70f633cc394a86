//! Callers that live and change.

use super::*;

#[test]
fn two_scripts_under_one_interpreter_are_two_workloads() {
    let scripts = Scripts::new();
    let one = Running::start("python3", &[&scripts.write("agent.py", WAIT), "--api-key", "k123"]);
    let other = Running::start("python3", &["-u", &scripts.write("reviewer.py", WAIT)]);
    let identities = identities(&[]);
    let subject = identities.resolve(&one.caller());
    named(&subject, "exe:python3:agent.py");
    named(&identities.resolve(&other.caller()), "exe:python3:reviewer.py");
    let process = &subject.process;
    assert!(process.verified);
    assert_eq!(process.pid, one.pid());
    assert!(process.start_ticks > 0);
    assert!(process.exe.contains("python3"), "{}", process.exe);
    assert!(process.command.ends_with("agent.py --api-key [redacted]"), "{}", process.command);
    assert_eq!(process.uid, rustix::process::getuid().as_raw());
    assert!(Arc::ptr_eq(&subject, &identities.resolve(&one.caller())), "remembered");
    assert!(Arc::ptr_eq(&subject, &identities.of_pid(one.pid()).unwrap()));
}

#[test]
fn the_uid_is_that_of_the_connect() {
    let running = Running::start("bash", &["-c", "echo; read"]);
    let identities = identities(&[]);
    let subject = identities.resolve(&Caller { uid: 65534, ..running.caller() });
    assert_eq!(subject.process.uid, 65534);
    assert_eq!(identities.resolve(&running.caller()).process.uid, running.caller().uid);
}

#[test]
fn execve_makes_another_caller() {
    let scripts = Scripts::new();
    let second = scripts.write("second.py", WAIT);
    let turn =
        format!("{WAIT}import os, sys\nos.execv(sys.executable, [sys.executable, {second:?}])\n");
    let first = scripts.write("first.py", &turn);
    let mut running =
        Running::start("bash", &["-c", &format!("echo ready; read; exec python3 {first}")]);
    let identities = identities(&[]);
    named(&identities.resolve(&running.caller()), "exe:bash");
    running.go_on();
    named(&identities.resolve(&running.caller()), "exe:python3:first.py");
    // The same executable, the same pid, the same start: only the image tells.
    running.go_on();
    named(&identities.resolve(&running.caller()), "exe:python3:second.py");
}

#[test]
fn what_an_agent_starts_belongs_to_it() {
    let scripts = Scripts::new();
    let tool = scripts.write("tool.py", WAIT);
    let agent = format!("bash -c 'python3 {tool} <&0 & echo $!; wait; true'\ntrue\n");
    let mut agent = Running::start("bash", &[&scripts.write("night-shift", &agent)]);
    let tool = agent.told();
    agent.listen();
    let subject = identities(&["night-shift"]).resolve(&caller(tool));
    assert_eq!(subject.workload.app.as_deref(), Some("night-shift"));
    named(&subject, "app:night-shift");
    let subject = identities(&[]).resolve(&caller(tool));
    assert_eq!(subject.workload.app, None);
    named(&subject, "exe:python3:tool.py");
}

#[test]
fn workers_go_by_the_script_they_work_for() {
    let scripts = Scripts::new();
    let pool = "import multiprocessing, os, sys
def work(_):
    return os.getpid()
if __name__ == '__main__':
    with multiprocessing.get_context('METHOD').Pool(1) as pool:
        print(pool.map(work, [0])[0], flush=True)
        sys.stdin.readline()
";
    let identities = identities(&[]);
    for method in ["spawn", "forkserver"] {
        let script = scripts.write(&format!("{method}.py"), &pool.replace("METHOD", method));
        let boss = Running::start("python3", &[&script]);
        let subject = identities.resolve(&caller(boss.told()));
        named(&subject, &format!("exe:python3:{method}.py"));
        assert_eq!(subject.process.pid, boss.told());
        boss.finish();
    }
}

#[test]
fn what_a_person_types_does_not_belong_to_the_editor() {
    let scripts = Scripts::new();
    let tool =
        scripts.write("tool.py", &format!("import os\nprint(f'pid={{os.getpid()}}.')\n{WAIT}"));
    let editor = format!(
        "import os, pty, re
pid, terminal = pty.fork()
if pid == 0:
    os.execvp('bash', ['bash', '--norc', '-i'])
os.write(terminal, b'python3 {tool}\\n')
seen = b''
while not (told := re.search(rb'pid=([0-9]+)\\.', seen)):
    seen += os.read(terminal, 4096)
print(told[1].decode(), flush=True)
input()
"
    );
    let editor = Running::start("python3", &[&scripts.write("editor.py", &editor)]);
    let identities = identities(&["editor"]);
    assert_eq!(identities.resolve(&editor.caller()).workload.app.as_deref(), Some("editor"));
    assert_eq!(identities.resolve(&caller(editor.told())).workload.app, None);
}

#[test]
fn owners_become_subjects() {
    let running = Running::start("bash", &["-c", "echo; read"]);
    let identities = identities(&[]);
    let owner = Owner { pid: Some(running.pid()), uid: 0, inode: 1, cookie: None };
    let subject = identities.of_owner(&owner);
    assert_eq!(subject.process.pid, running.pid());
    assert!(subject.process.verified);
    let subject = identities.of_owner(&Owner { pid: None, ..owner });
    assert_eq!(&*subject.workload.name, "unattributed");
    assert_eq!(subject.process.user.as_deref(), Some("root"));
    assert!(!subject.process.verified);
}

#[test]
fn pids_that_are_none() {
    let identities = identities(&[]);
    for pid in [0, u32::MAX, 1 << 30] {
        assert_eq!(identities.of_pid(pid), None);
    }
    assert!(identities.of_pid(std::process::id()).is_some());
}

#[test]
fn resolving_is_quick() {
    let scripts = Scripts::new();
    let running = Running::start("python3", &[&scripts.write("agent.py", WAIT)]);
    let identities = identities(&[]);
    let caller = running.caller();
    identities.resolve(&caller);
    let median = |forget: bool| {
        let mut took: Vec<Duration> = (0..200)
            .map(|_| {
                if forget {
                    identities.known.invalidate(&caller.tgid);
                }
                let before = since_boot();
                identities.resolve(&caller);
                since_boot().saturating_sub(before)
            })
            .collect();
        took.sort();
        took[took.len() / 2]
    };
    let (cold, warm) = (median(true), median(false));
    println!("resolve: cold {cold:?}, warm {warm:?}");
    // A hundred times what it should take: this only catches searches where a look-up belongs.
    assert!(cold < Duration::from_millis(10) && warm < Duration::from_millis(5));
}
