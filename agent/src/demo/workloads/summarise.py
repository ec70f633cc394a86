"""Summarises documents with Claude: long prompts, mostly read from the provider's cache."""

import json
import os
import sys
import time
import urllib.request

BASE = os.environ.get("ANTHROPIC_BASE_URL", "https://api.anthropic.com")
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    request = urllib.request.Request(
        f"{BASE}/v1/messages",
        json.dumps(
            {
                "model": "claude-sonnet-4-5",
                "max_tokens": 1024,
                "messages": [{"role": "user", "content": "Summarise: " + "lorem " * 400}],
            }
        ).encode(),
        {
            "x-api-key": os.environ["ANTHROPIC_API_KEY"],
            "anthropic-version": "2023-06-01",
            "content-type": "application/json",
            "x-mock": "input=18000 cached=15000 cache_write=1000 output=900 delay=300ms",
        },
    )
    with urllib.request.urlopen(request) as answer:
        json.load(answer)
    time.sleep(0.5)
