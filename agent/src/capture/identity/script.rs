//! What a program is called: its executable, and for interpreters also what they interpret.
//!
//! The executable is the kernel's word, the script is read from the arguments and thus the
//! process's own. The forms are stable: `python3.12 -u /srv/agent.py` is `python3` + `agent.py`,
//! `python3 -m aider.main` and an entry point called `aider` go by their module and file name;
//! code given on the command line or on standard input has no name.

use super::grammar::{Grammar, interpreter};

/// A program and its script.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Program {
    /// File name of the executable; for interpreters without its version.
    pub(super) exe: String,
    /// File, module, class or subcommand an interpreter runs.
    pub(super) script: Option<String>,
    /// Package the script was installed with, where its path tells.
    pub(super) package: Option<String>,
    /// A shell that takes commands from a person or a pipe.
    pub(super) is_prompt: bool,
    /// A process that works for the script of its parent (Python's `multiprocessing`, where it
    /// does not simply fork).
    pub(super) is_worker: bool,
}

/// The program behind an executable's path and its arguments.
pub(super) fn program(path: &str, arguments: &[String]) -> Program {
    let exe = exe_name(path);
    if exe == "busybox" || exe == "toybox" {
        return applet(exe, arguments);
    }
    match interpreter(exe) {
        Some((name, grammar)) => interpreted(name, grammar, arguments),
        None => Program { exe: exe.to_owned(), ..Program::default() },
    }
}

/// Whether the arguments are needed to name this executable.
pub(super) fn is_interpreter(path: &str) -> bool {
    let exe = exe_name(path);
    interpreter(exe).is_some() || exe == "busybox" || exe == "toybox"
}

/// What reading the arguments came to.
enum Found {
    Script(String),
    Module(String),
    Code,
    Nothing,
}

fn interpreted(name: &str, grammar: &Grammar, arguments: &[String]) -> Program {
    let first = arguments.first().map(String::as_str).unwrap_or_default();
    let mut program = Program { exe: name.to_owned(), ..Program::default() };
    // A lone first argument that is no interpreter's name is a title the script gave itself.
    if arguments.len() == 1 && interpreter(file_name(first.trim_start_matches('-'))).is_none() {
        program.script = title(first);
        return program;
    }
    match read(grammar, arguments.get(1..).unwrap_or_default()) {
        Found::Script(path) => (program.script, program.package) = named(&path),
        Found::Module(module) => {
            let module = module.strip_suffix(".__main__").unwrap_or(&module);
            program.script = Some(module.to_owned());
        }
        Found::Code => {
            program.is_worker =
                arguments.iter().any(|code| code.starts_with("from multiprocessing."));
        }
        Found::Nothing => program.is_prompt = grammar.shell,
    }
    program
}

/// One executable with many names: which one is meant stands in the first argument.
fn applet(exe: &str, arguments: &[String]) -> Program {
    let name = |at: usize| arguments.get(at).map(|a| file_name(a.trim_start_matches('-')));
    let (at, applet) = match name(0) {
        Some(first) if first != exe => (0, Some(first)),
        _ => (1, name(1)),
    };
    let exe = exe.to_owned();
    match applet.and_then(|applet| Some((applet, interpreter(applet)?))) {
        Some((applet, (_, grammar))) => {
            let inner = interpreted(applet, grammar, arguments.get(at..).unwrap_or_default());
            let script = inner.script.or_else(|| Some(applet.to_owned()));
            Program { exe, script, ..inner }
        }
        None => Program { exe, script: applet.map(str::to_owned), ..Program::default() },
    }
}

fn read(grammar: &Grammar, arguments: &[String]) -> Found {
    let mut arguments = arguments.iter();
    let script = |next: Option<&String>| match next {
        Some(path) if grammar.positional => Found::Script(path.clone()),
        _ => Found::Nothing,
    };
    let mut verb_allowed = true;
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        if grammar.no_script.contains(&name) {
            return Found::Code;
        }
        if grammar.long_script.contains(&name) {
            let path = value.or_else(|| arguments.next().cloned());
            return path.map_or(Found::Nothing, Found::Script);
        }
        if grammar.long_value.contains(&name) {
            if value.is_none() {
                arguments.next();
            }
        } else if argument == "--" {
            return script(arguments.next());
        } else if argument == "-" || argument.is_empty() {
            return Found::Nothing;
        } else if argument.starts_with("--") || (grammar.single_dash && argument.starts_with('-')) {
            // Any other long option stands alone.
        } else if let Some(letters) = argument.strip_prefix('-') {
            match cluster(grammar, letters, &mut arguments) {
                Found::Nothing => {}
                found => return found,
            }
        } else if grammar.shell && argument.starts_with('+') {
            if argument.ends_with(['o', 'O']) {
                arguments.next();
            }
        } else if verb_allowed && grammar.verbs.contains(&name) {
            verb_allowed = false;
        } else if grammar.positional {
            return script(Some(argument));
        }
    }
    Found::Nothing
}

/// Reads short options run together (`-um`); `Nothing` means the script comes later.
fn cluster<'a>(
    grammar: &Grammar,
    letters: &str,
    rest: &mut impl Iterator<Item = &'a String>,
) -> Found {
    for (at, letter) in letters.char_indices() {
        let attached = &letters[at + letter.len_utf8()..];
        if grammar.code.contains(letter) {
            return Found::Code;
        }
        if grammar.script.contains(letter) {
            let value =
                if attached.is_empty() { rest.next().cloned() } else { Some(attached.into()) };
            let found = if letter == 'm' { Found::Module } else { Found::Script };
            return value.map_or(Found::Nothing, found);
        }
        if grammar.value.contains(letter) {
            // A shell takes the value of `-eo` from the next argument whatever follows the letter.
            if attached.is_empty() || grammar.shell {
                rest.next();
            }
            if !grammar.shell {
                return Found::Nothing;
            }
        }
        if grammar.attached.contains(letter) {
            return Found::Nothing;
        }
    }
    Found::Nothing
}

/// A script's name and package from its path.
fn named(path: &str) -> (Option<String>, Option<String>) {
    // deno takes addresses and `npm:@scope/name@1.2`, java `module/class`.
    let path = path.split(['?', '#']).next().unwrap_or(path);
    let path = path.strip_prefix("npm:").or_else(|| path.strip_prefix("jsr:")).unwrap_or(path);
    let path = path.trim_end_matches('/');
    let package = package(path);
    let file = file_name(path);
    let versionless = match file.split_once('@') {
        Some((name, _)) if !name.is_empty() => name,
        _ => file,
    };
    let stem = file.split('.').next().unwrap_or(file);
    let name = match (stem, package) {
        (".." | "." | "", _) => return (None, None),
        // Names that a thousand packages share.
        ("cli" | "index" | "main" | "__main__" | "start" | "run", Some(package)) => package,
        ("__main__", None) => match path.rsplit('/').nth(1) {
            Some(dir) if !dir.is_empty() => dir,
            _ => file,
        },
        _ => versionless,
    };
    (Some(name.to_owned()), package.map(str::to_owned))
}

/// The package whose installation a path lies in.
fn package(path: &str) -> Option<&str> {
    let dirs: Vec<&str> = path.rsplit_once('/')?.0.split('/').collect();
    let libraries = ["node_modules", "site-packages", "dist-packages"];
    let at = dirs.iter().rposition(|dir| libraries.contains(dir))?;
    let name = dirs.get(at + 1).filter(|name| !name.starts_with('.'))?;
    if name.starts_with('@') { dirs.get(at + 2).copied() } else { Some(name) }
}

/// The leading word of a title: `gunicorn` of `gunicorn: master [app]`.
fn title(text: &str) -> Option<String> {
    let text = file_name(text.trim_start_matches(['[', '-', ' ']));
    let end = text.find(|c: char| c.is_whitespace() || matches!(c, ':' | ']' | '[' | '('));
    let word = &text[..end.unwrap_or(text.len())];
    (!word.is_empty()).then(|| word.to_owned())
}

/// File name of an executable. Where that is a version (`…/claude/versions/2.0.14`) the directory
/// that has a name is meant.
fn exe_name(path: &str) -> &str {
    let is_version = |part: &str| {
        part.contains('.')
            && part.trim_start_matches('v').bytes().all(|b| b.is_ascii_digit() || b == b'.')
    };
    if !is_version(file_name(path)) {
        return file_name(path);
    }
    path.rsplit('/')
        .find(|part| !is_version(part) && !["versions", "releases", "bin", ""].contains(part))
        .unwrap_or_else(|| file_name(path))
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `·` stands for a blank within an argument.
    fn of(path: &str, line: &str) -> String {
        let arguments: Vec<String> = line.split(' ').map(|a| a.replace('·', " ")).collect();
        let found = program(path, &arguments);
        match found.script {
            Some(script) => format!("{}:{script}", found.exe),
            None => found.exe,
        }
    }

    #[test]
    fn plain_programs() {
        assert_eq!(of("/usr/bin/curl", "curl -s https://x"), "curl");
        assert_eq!(of("/home/u/.local/share/claude/versions/2.0.14", "claude -p x"), "claude");
        assert_eq!(of("/opt/tool/v1.2.3/bin/1.2.3", "x"), "tool");
        assert_eq!(of("/memfd:runtime", "x"), "memfd:runtime");
        assert_eq!(of("", ""), "");
    }

    #[test]
    fn interpreters_and_their_scripts() {
        for (path, line, expected) in [
            ("python3.12", "python3 agent.py", "python3:agent.py"),
            ("python3.12", "python3 -u -W ignore /srv/agent.py --api x.py", "python3:agent.py"),
            ("python3.12", "/venv/bin/python -Xutf8 -IBu ./agent.py", "python3:agent.py"),
            ("python3.12", "python3 -c print(1) agent.py", "python3"),
            ("python3.12", "python3 -uc print(1)", "python3"),
            ("python3.12", "python3", "python3"),
            ("python3.12", "python3 -", "python3"),
            ("python3.12", "python3 -m uvicorn app:app", "python3:uvicorn"),
            ("python3.12", "python3 -um aider.main --x", "python3:aider.main"),
            ("python3.12", "python3 -mhttp.server", "python3:http.server"),
            ("python3.12", "python3 -m pkg.__main__", "python3:pkg"),
            ("python3.12", "python3 /usr/bin/aider --model x", "python3:aider"),
            ("python3.12", "python3 /srv/app/", "python3:app"),
            ("python3.12", "python3 .", "python3"),
            ("python3.12", "python3 /srv/app/__main__.py", "python3:app"),
            ("python3.12", "gunicorn:·master·[app:app]", "python3:gunicorn"),
            ("python3.12", "[celeryd:·x]", "python3:celeryd"),
            ("node", "node --max-old-space-size=99 server.js", "node:server.js"),
            ("node", "node -r ts-node/register --import ./x.mjs src/agent.ts", "node:agent.ts"),
            ("node", "node --inspect -- agent.js", "node:agent.js"),
            ("node", "node inspect agent.js", "node:agent.js"),
            ("node", "node -e 1 agent.js", "node"),
            ("node", "node --eval=1 agent.js", "node"),
            ("nodejs", "node /usr/bin/gemini", "node:gemini"),
            ("node", "node /l/node_modules/@anthropic-ai/claude-code/cli.js", "node:claude-code"),
            ("node", "node /l/node_modules/tool/dist/index.js", "node:tool"),
            ("node", "claude", "node:claude"),
            ("ruby3.1", "ruby -W0 -I lib -rjson bot.rb", "ruby:bot.rb"),
            ("ruby3.1", "ruby -S rake", "ruby:rake"),
            ("ruby3.1", "ruby -ne puts x.rb", "ruby"),
            ("perl", "perl -w -Mstrict -I lib job.pl", "perl:job.pl"),
            ("perl", "perl -pe s/a/b/ file", "perl"),
            ("bash", "bash -eo pipefail nightly.sh", "bash:nightly.sh"),
            ("bash", "bash --norc +o posix ./nightly", "bash:nightly"),
            ("bash", "bash -c x.sh", "bash"),
            ("bash", "bash -lc x.sh", "bash"),
            ("bash", "-bash", "bash"),
            ("dash", "sh -e run.sh", "dash:run.sh"),
            ("php8.2", "php -d a=b -f job.php", "php:job.php"),
            ("php8.2", "php artisan queue:work", "php:artisan"),
            ("php8.2", "php -r 1;", "php"),
            ("R", "/usr/lib/R/bin/exec/R --no-echo --file=fit.R --args a", "R:fit.R"),
            ("R", "R --vanilla data.csv", "R"),
            ("java", "java -Xmx1g -cp a:b -Dx=y com.acme.Main a", "java:com.acme.Main"),
            ("java", "java -XX:+UseG1GC -jar /opt/app.jar --port 1", "java:app.jar"),
            ("java", "java -p mods -m acme/com.acme.Main", "java:com.acme.Main"),
            ("deno", "deno run -A --allow-net=x agent.ts", "deno:agent.ts"),
            ("deno", "deno run npm:@scope/tool@1.2", "deno:tool"),
            ("deno", "deno https://x.example/a/agent.ts?v=1", "deno:agent.ts"),
            ("deno", "deno eval 1", "deno"),
            ("bun", "bun --hot run agent.ts", "bun:agent.ts"),
            ("bun", "bun x tool", "bun:tool"),
            ("busybox", "wget -q x", "busybox:wget"),
            ("busybox", "busybox wget x", "busybox:wget"),
            ("busybox", "sh -e run.sh", "busybox:run.sh"),
            ("busybox", "-sh", "busybox:sh"),
            ("busybox", "busybox", "busybox"),
        ] {
            let name = of(&format!("/usr/bin/{path}"), line);
            assert_eq!(name, expected, "{line}");
        }
    }

    #[test]
    fn the_package_is_told_by_the_path() {
        let package = |path| named(path).1;
        assert_eq!(
            package("/l/node_modules/@google/gemini-cli/bundle/gemini.js").as_deref(),
            Some("gemini-cli")
        );
        assert_eq!(package("/v/lib/python3/site-packages/aider/main.py").as_deref(), Some("aider"));
        assert_eq!(package("/l/node_modules/.bin/tool").as_deref(), None);
        assert_eq!(package("node_modules/x.js"), None);
        assert_eq!(package("/srv/x.js"), None);
    }

    #[test]
    fn shells_that_wait_for_commands() {
        let prompt = |line: &str| {
            let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
            program("/bin/bash", &arguments).is_prompt
        };
        assert!(prompt("-bash"));
        assert!(prompt("bash -l"));
        assert!(prompt("bash --rcfile x -i"));
        assert!(!prompt("bash -c ls"));
        assert!(!prompt("bash run.sh"));
    }
}
