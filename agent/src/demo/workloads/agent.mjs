// Thinks before it answers: most of what it pays for is never shown.
const base = process.env.OPENAI_BASE_URL ?? "https://api.openai.com/v1";
const end = Date.now() + Number(process.argv[2]) * 1000;
while (Date.now() < end) {
  const answer = await fetch(`${base}/responses`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${process.env.OPENAI_API_KEY}`,
      "content-type": "application/json",
      "x-mock": "input=5200 cached=4096 output=3100 reasoning=2800 delay=400ms",
    },
    body: JSON.stringify({ model: "gpt-5", input: "Plan my day" }),
  });
  await answer.json();
  await new Promise((resolve) => setTimeout(resolve, 800));
}
