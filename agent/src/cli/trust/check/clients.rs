//! The clients that can be asked, and how. `HOST` and `PORT` stand for where the listener is.

use std::time::Duration;

/// A client.
#[derive(Debug, Clone)]
pub(super) struct Client {
    /// Its name in the matrix.
    pub(super) name: &'static str,
    /// The program that shows that it is here.
    pub(super) needs: &'static str,
    /// What makes it send one request.
    pub(super) command: &'static [&'static str],
    /// A file that needs to lie where it is started.
    pub(super) file: Option<(&'static str, &'static str)>,
    /// How it reaches the listener.
    pub(super) way: Way,
    /// Where its roots come from.
    pub(super) roots: Roots,
    /// How long it may take.
    pub(super) patience: Duration,
}

/// How a client reaches the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By its proxy variables.
    Proxy,
    /// By the address it is given.
    Direct,
}

/// Where a client's roots come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Roots {
    /// The host's store.
    System,
    /// With the client, unless a variable says otherwise.
    Own,
    /// A JDK's key store.
    Java,
}

/// All clients that can be asked.
pub(super) const ALL: [Client; 14] = [
    client("curl", "curl", &["curl", "-sS", "-o", "/dev/null", "--max-time", "8", URL]),
    client("wget", "wget", &["wget", "-nv", "-O", "/dev/null", "--tries=1", "--timeout=8", URL]),
    Client { way: Way::Direct, ..client("openssl", "openssl", &["sh", "-c", OPENSSL]) },
    client("python-urllib", "python3", &["python3", "-c", URLLIB]),
    own("python-requests", "python3", &["python3", "-c", REQUESTS]),
    own("python-httpx", "python3", &["python3", "-c", HTTPX]),
    client("python-aiohttp", "python3", &["python3", "-c", AIOHTTP]),
    own("python-openai", "python3", &["python3", "-c", OPENAI]),
    own("python-anthropic", "python3", &["python3", "-c", ANTHROPIC]),
    Client { way: Way::Direct, ..own("node", "node", &["node", "-e", NODE]) },
    client("bun", "bun", &["bun", "-e", FETCH]),
    own("deno", "deno", &["deno", "eval", FETCH]),
    Client {
        file: Some(("Check.java", JAVA)),
        roots: Roots::Java,
        way: Way::Direct,
        patience: Duration::from_secs(30),
        ..client(
            "java",
            "javac",
            &["java", "-Dhttps.proxyHost=127.0.0.1", "-Dhttps.proxyPort=PORT", "Check.java"],
        )
    },
    Client {
        file: Some(("check.go", GO)),
        // The first run compiles half of its library.
        patience: Duration::from_mins(2),
        ..client("go", "go", &["go", "run", "check.go"])
    },
];

const fn client(
    name: &'static str,
    needs: &'static str,
    command: &'static [&'static str],
) -> Client {
    Client {
        name,
        needs,
        command,
        file: None,
        way: Way::Proxy,
        roots: Roots::System,
        patience: Duration::from_secs(15),
    }
}

const fn own(name: &'static str, needs: &'static str, command: &'static [&'static str]) -> Client {
    Client { roots: Roots::Own, ..client(name, needs, command) }
}

const URL: &str = "https://HOST/";

// Without a request on its input it would end before anything could be heard.
const OPENSSL: &str = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | openssl s_client -quiet -verify 4 \
    -verify_return_error -connect 127.0.0.1:PORT -servername HOST -verify_hostname HOST";

const URLLIB: &str = "
import urllib.request
urllib.request.urlopen('https://HOST/', timeout=8)
";

const REQUESTS: &str = "
import sys
try: import requests
except ImportError: sys.exit(42)
requests.get('https://HOST/', timeout=8)
";

const HTTPX: &str = "
import sys
try: import httpx
except ImportError: sys.exit(42)
httpx.get('https://HOST/', timeout=8)
";

const AIOHTTP: &str = "
import sys
try: import aiohttp
except ImportError: sys.exit(42)
import asyncio
async def main():
    async with aiohttp.ClientSession(trust_env=True) as session:
        await session.get('https://HOST/')
asyncio.run(main())
";

const OPENAI: &str = "
import sys
try: import openai
except ImportError: sys.exit(42)
openai.OpenAI(base_url='https://HOST/v1', max_retries=0, timeout=8).models.list()
";

const ANTHROPIC: &str = "
import sys
try: import anthropic
except ImportError: sys.exit(42)
anthropic.Anthropic(base_url='https://HOST', max_retries=0, timeout=8).models.list()
";

const NODE: &str = "
require('https').get({host: '127.0.0.1', port: PORT, servername: 'HOST', path: '/'},
  (answer) => answer.resume()).on('error', (error) => { console.error(error.message); process.exit(1); });
";

const FETCH: &str = "await fetch('https://HOST/')";

const JAVA: &str = "
public class Check {
    public static void main(String[] arguments) throws Exception {
        java.net.URI.create(\"https://HOST/\").toURL().openStream().close();
    }
}
";

const GO: &str = "
package main

import (
\t\"fmt\"
\t\"net/http\"
\t\"os\"
)

func main() {
\tif _, err := http.Get(\"https://HOST/\"); err != nil {
\t\tfmt.Fprintln(os.Stderr, err)
\t\tos.Exit(1)
\t}
}
";
