// Two turns around a tool call, both streamed by the SDK's helper.
import OpenAI from "openai";

const client = new OpenAI();
const tools = [
  {
    type: "function",
    function: {
      name: "weather",
      description: "The weather in a city",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];
const messages = [{ role: "user", content: "How is the weather in Bergen?" }];
const ask = () =>
  client.chat.completions.stream({ model: "gpt-4o-mini", messages, tools }).finalMessage();
const first = await ask();
const call = first.tool_calls[0];
console.log("tool", call.function.name, JSON.parse(call.function.arguments).city);
messages.push(first, { role: "tool", tool_call_id: call.id, content: "rain" });
const second = await ask();
console.log(second.content);
