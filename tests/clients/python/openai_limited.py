"""Over two calls a minute: the SDK raises its own error, and its own retry finds the way back."""

import time

from openai import OpenAI, RateLimitError

client = OpenAI()
question = {
    "model": "gpt-4o-mini",
    "max_tokens": 200,
    "messages": [{"role": "user", "content": "How is the weather in Bergen?"}],
}
impatient = client.with_options(max_retries=0)
for _ in range(5):
    try:
        impatient.chat.completions.create(**question)
        # The wait for the first call to leave the minute must not be more than the SDK waits.
        time.sleep(2)
    except RateLimitError as error:
        print("limited", error.status_code, error.body["code"], error.body["policy"])
        break
answer = client.chat.completions.create(**question)
print("recovered", answer.usage.total_tokens)
