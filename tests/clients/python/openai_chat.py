"""One unary chat completion, as in the SDK's own README."""

from openai import OpenAI

client = OpenAI()
answer = client.chat.completions.create(
    model="gpt-4o-mini",
    messages=[{"role": "user", "content": "How is the weather in Bergen?"}],
)
print(answer.choices[0].message.content)
print("usage", answer.usage.prompt_tokens, answer.usage.completion_tokens)
