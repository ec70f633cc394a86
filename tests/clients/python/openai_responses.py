"""The Responses API, unary and streamed."""

from openai import OpenAI

client = OpenAI()
answer = client.responses.create(model="gpt-4o-mini", input="How is the weather in Bergen?")
print(answer.output_text)
print("usage", answer.usage.input_tokens, answer.usage.output_tokens)

kinds = []
with client.responses.create(
    model="gpt-4o-mini", input="How is the weather in Bergen?", stream=True
) as stream:
    for event in stream:
        kinds.append(event.type)
print("last", kinds[-1])
