"""A streamed chat completion that does not ask for usage: none must be seen."""

from openai import OpenAI

client = OpenAI()
stream = client.chat.completions.create(
    model="gpt-4o-mini",
    messages=[{"role": "user", "content": "How is the weather in Bergen?"}],
    stream=True,
)
chunks = 0
surprises = 0
for chunk in stream:
    chunks += 1
    if not chunk.choices or chunk.usage is not None:
        surprises += 1
        continue
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print("\nchunks", chunks, "surprises", surprises)
