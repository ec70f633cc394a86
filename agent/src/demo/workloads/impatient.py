"""Asks, reads a little, and hangs up: the provider bills all the same."""

import json
import os
import sys
import time
import urllib.request

BASE = os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1")
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    request = urllib.request.Request(
        f"{BASE}/chat/completions",
        json.dumps(
            {
                "model": "gpt-4o",
                "stream": True,
                "messages": [{"role": "user", "content": "Tell me everything"}],
            }
        ).encode(),
        {
            "authorization": "Bearer " + os.environ["OPENAI_API_KEY"],
            "content-type": "application/json",
            "x-mock": "input=3000 output=4000 chunks=400 pace=30ms",
        },
    )
    with urllib.request.urlopen(request) as answer:
        for _ in range(12):
            answer.readline()
    time.sleep(1.5)
