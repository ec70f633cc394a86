"""Over two calls a minute: the SDK raises its own error, and its own retry finds the way back."""

import time

from anthropic import Anthropic, RateLimitError

client = Anthropic()
question = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 200,
    "messages": [{"role": "user", "content": "How is the weather in Bergen?"}],
}
impatient = client.with_options(max_retries=0)
for _ in range(5):
    try:
        impatient.messages.create(**question)
        # The wait for the first call to leave the minute must not be more than the SDK waits.
        time.sleep(2)
    except RateLimitError as error:
        kind = error.body["error"]["type"]
        print("limited", error.status_code, kind, error.body["error"]["policy"])
        break
answer = client.messages.create(**question)
print("recovered", answer.usage.input_tokens + answer.usage.output_tokens)
