// Asks four times, each over a connection of its own, and prints a line for each: the status, or what went
// wrong. Runs on Node, Bun and Deno.
for (let round = 0; round < 4; round++) {
  try {
    const answer = await fetch("https://api.openai.com/v1/chat/completions", {
      method: "POST",
      headers: { authorization: "Bearer sk-test", connection: "close" },
      body: '{"model":"gpt-4o-mini","messages":[]}',
    });
    await answer.text();
    console.log(answer.status);
  } catch (error) {
    console.log(String(error.cause?.code ?? error.code ?? error.cause ?? error).split("\n")[0]);
  }
}
