"""Two turns around a tool call: the second brings the tool's result."""

import json

from openai import OpenAI

client = OpenAI()
tools = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather in a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]
messages = [{"role": "user", "content": "How is the weather in Bergen?"}]
first = client.chat.completions.create(model="gpt-4o-mini", messages=messages, tools=tools)
call = first.choices[0].message.tool_calls[0]
print("tool", call.function.name, json.loads(call.function.arguments)["city"])
messages.append(first.choices[0].message)
messages.append({"role": "tool", "tool_call_id": call.id, "content": "rain"})
second = client.chat.completions.create(model="gpt-4o-mini", messages=messages, tools=tools)
print(second.choices[0].message.content)
