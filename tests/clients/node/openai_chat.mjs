// One unary chat completion.
import OpenAI from "openai";

const client = new OpenAI();
const answer = await client.chat.completions.create({
  model: "gpt-4o-mini",
  messages: [{ role: "user", content: "How is the weather in Bergen?" }],
});
console.log(answer.choices[0].message.content);
console.log("usage", answer.usage.prompt_tokens, answer.usage.completion_tokens);
