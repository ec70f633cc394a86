// A streamed message.
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic();
const message = await client.messages
  .stream({
    model: "claude-sonnet-4-5",
    max_tokens: 1024,
    messages: [{ role: "user", content: "How is the weather in Bergen?" }],
  })
  .on("text", (text) => process.stdout.write(text))
  .finalMessage();
console.log("\nusage", message.usage.input_tokens, message.usage.output_tokens);
