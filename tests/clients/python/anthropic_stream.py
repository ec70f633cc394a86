"""A streamed message, by the SDK's helper."""

from anthropic import Anthropic

client = Anthropic()
with client.messages.stream(
    model="claude-sonnet-4-5",
    max_tokens=1024,
    messages=[{"role": "user", "content": "How is the weather in Bergen?"}],
) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)
    message = stream.get_final_message()
print("\nusage", message.usage.input_tokens, message.usage.output_tokens)
