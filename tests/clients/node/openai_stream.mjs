// A streamed chat completion that does not ask for usage: none must be seen.
import OpenAI from "openai";

const client = new OpenAI();
const stream = await client.chat.completions.create({
  model: "gpt-4o-mini",
  messages: [{ role: "user", content: "How is the weather in Bergen?" }],
  stream: true,
});
let chunks = 0;
let surprises = 0;
for await (const chunk of stream) {
  chunks += 1;
  if (chunk.choices.length === 0 || chunk.usage) {
    surprises += 1;
    continue;
  }
  process.stdout.write(chunk.choices[0].delta.content ?? "");
}
console.log("\nchunks", chunks, "surprises", surprises);
