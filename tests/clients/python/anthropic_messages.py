"""One unary message and a token count (which is not billed)."""

from anthropic import Anthropic

client = Anthropic()
messages = [{"role": "user", "content": "How is the weather in Bergen?"}]
count = client.messages.count_tokens(model="claude-sonnet-4-5", messages=messages)
print("count", count.input_tokens)
answer = client.messages.create(model="claude-sonnet-4-5", max_tokens=1024, messages=messages)
print(answer.content[0].text)
print("usage", answer.usage.input_tokens, answer.usage.output_tokens)
