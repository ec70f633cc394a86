// Turns over one WebSocket, as coding agents take them, with Node's own client.
const turns = Number(process.argv[2]);
const headers = { authorization: `Bearer ${process.env.OPENAI_API_KEY}` };
const socket = new WebSocket("wss://api.openai.com/v1/responses", { headers });
let taken = 0;
let previous;

const ask = () =>
  socket.send(
    JSON.stringify({
      type: "response.create",
      model: "gpt-4o-mini",
      store: false,
      previous_response_id: previous,
      input: [{ type: "message", role: "user", content: "How is the weather in Bergen?" }],
    }),
  );

socket.onopen = ask;
socket.onmessage = ({ data }) => {
  const event = JSON.parse(data);
  if (event.type === "response.completed") {
    const { id, usage } = event.response;
    previous = id;
    console.log("usage", usage.input_tokens, usage.output_tokens);
  } else if (event.type === "error") {
    console.log("error", event.status, event.error.code);
  } else {
    return;
  }
  taken += 1;
  if (taken === turns) {
    socket.close(1000, "done");
  } else {
    ask();
  }
};
socket.onclose = ({ code }) => console.log("closed", code);
socket.onerror = ({ message }) => {
  console.error("failed", message);
  process.exitCode = 1;
};
