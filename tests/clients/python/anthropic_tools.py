"""Two turns around a tool use; the first is streamed."""

from anthropic import Anthropic

client = Anthropic()
tools = [
    {
        "name": "weather",
        "description": "The weather in a city",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    }
]
messages = [{"role": "user", "content": "How is the weather in Bergen?"}]
with client.messages.stream(
    model="claude-sonnet-4-5", max_tokens=1024, messages=messages, tools=tools
) as stream:
    first = stream.get_final_message()
use = next(block for block in first.content if block.type == "tool_use")
print("tool", use.name, use.input["city"])
messages.append({"role": "assistant", "content": first.content})
messages.append(
    {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "rain"}],
    }
)
second = client.messages.create(
    model="claude-sonnet-4-5", max_tokens=1024, messages=messages, tools=tools
)
print(second.content[0].text)
