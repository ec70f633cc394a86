"""A streamed chat completion that asks for usage: it must come, in the last chunk."""

from openai import OpenAI

client = OpenAI()
usage = None
with client.chat.completions.create(
    model="gpt-4o-mini",
    messages=[{"role": "user", "content": "How is the weather in Bergen?"}],
    stream=True,
    stream_options={"include_usage": True},
) as stream:
    for chunk in stream:
        usage = chunk.usage or usage
print("usage", usage.prompt_tokens, usage.completion_tokens)
