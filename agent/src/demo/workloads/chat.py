"""Chats: reads each answer as it is written, event by event."""

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
                "messages": [{"role": "user", "content": "Tell me a story"}],
            }
        ).encode(),
        {
            "authorization": "Bearer " + os.environ["OPENAI_API_KEY"],
            "content-type": "application/json",
            "x-mock": "input=2600 output=700 chunks=40 pace=30ms",
        },
    )
    with urllib.request.urlopen(request) as answer:
        for line in answer:
            if line.strip() == b"data: [DONE]":
                break
    time.sleep(0.3)
