# Asks four times with the standard library, each over a connection of its own, and prints a line for each.
import urllib.error
import urllib.request

for _ in range(4):
    request = urllib.request.Request(
        "https://api.openai.com/v1/chat/completions",
        b'{"model":"gpt-4o-mini","messages":[]}',
        {"authorization": "Bearer sk-test"},
    )
    try:
        print(urllib.request.urlopen(request, timeout=20).status)
    except urllib.error.URLError as error:
        print(type(error.reason).__name__)
