// The official `openai` package for Node against `r1 serve`: whole, streamed, cut off, and its errors.
//
//     npm install openai                                        (in a folder outside of the repository)
//     r1 serve -m tiny
//     NODE_PATH=FOLDER/node_modules node scripts/clients/openai_node.mjs [ADDRESS] [MODEL]
//
// Prints what it got, and exits with 1 if something is not as it should be.

import { createRequire } from "node:module";
import process from "node:process";

// A module outside of the repository: `import` would not look into NODE_PATH.
const { default: OpenAI } = createRequire(import.meta.url)("openai");

const address = process.argv[2] ?? "http://127.0.0.1:8017";
const model = process.argv[3] ?? "tiny";
const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "17+25?" }];
let wrong = 0;

function check(what, isRight, shown) {
  wrong += isRight ? 0 : 1;
  console.log(`${isRight ? "ok   " : "WRONG"} ${what}: ${JSON.stringify(shown)}`);
}

async function active() {
  return (await (await fetch(`${address}/health`)).json()).active;
}

const whole = await client.chat.completions.create({ model, messages, temperature: 0 });
const { content, reasoning_content: reasoning } = whole.choices[0].message;
check("whole, the answer", content.includes("42"), content);
check("whole, the reasoning", reasoning.length > 0, reasoning);
check("reasoning tokens", whole.usage.completion_tokens_details.reasoning_tokens > 0, whole.usage);

const pieces = { reasoning: "", answer: "", chunks: 0 };
const stream = await client.chat.completions.create({ model, messages, temperature: 0, stream: true });
for await (const chunk of stream) {
  pieces.reasoning += chunk.choices[0].delta.reasoning_content ?? "";
  pieces.answer += chunk.choices[0].delta.content ?? "";
  pieces.chunks += 1;
}
check("streamed, it is the same", pieces.reasoning === reasoning && pieces.answer === content, pieces);

const runner = client.chat.completions.stream({ model, messages, temperature: 0 });
check("the helper for streams", (await runner.finalContent()) === content, await runner.finalContent());

const parsed = await client.chat.completions.parse({
  model,
  messages,
  temperature: 0,
  response_format: {
    type: "json_schema",
    json_schema: {
      name: "sum",
      strict: true,
      schema: {
        type: "object",
        properties: { sum: { type: "integer" } },
        required: ["sum"],
        additionalProperties: false,
      },
    },
  },
});
check("an answer of a form", Number.isInteger(JSON.parse(parsed.choices[0].message.content).sum),
  parsed.choices[0].message.content);

const response = await client.responses.create({ model, input: "17+25?", temperature: 0 });
check("responses, the answer", response.output_text === content, response.output_text);
check("responses, the reasoning", response.output[0].type === "reasoning", response.output[0].content);

const controller = new AbortController();
const long = { model, messages, temperature: 3, max_tokens: 1500, stream: true };
let seen = 0;
try {
  for await (const _ of await client.chat.completions.create(long, { signal: controller.signal })) {
    seen += 1;
    if (seen === 5) controller.abort();
  }
  check("cut off: the stream has ended", seen < 20, seen);
} catch (error) {
  check("cut off", error instanceof OpenAI.APIUserAbortError || error.name === "AbortError", error.name);
}
let left = await active();
for (let tries = 0; left > 0 && tries < 100; tries += 1) {
  await new Promise((done) => setTimeout(done, 50));
  left = await active();
}
check("cut off: the server has noticed", left === 0, left);

async function refused(what, body, type, shown) {
  try {
    await client.chat.completions.create(body);
    check(what, false, "no error");
  } catch (error) {
    check(what, error instanceof type && shown(error), [error.constructor.name, error.status, error.message]);
  }
}

await refused("a wrong type", { model, messages, temperature: "hot" }, OpenAI.BadRequestError,
  (error) => error.param === "temperature");
await refused("tools", { model, messages, tools: [{ type: "function", function: { name: "f" } }] },
  OpenAI.BadRequestError, (error) => error.message.includes("tool"));
await refused("no messages", { model, messages: [] }, OpenAI.BadRequestError, (error) => error.param === "messages");

const names = [];
for await (const each of client.models.list()) names.push(each.id);
check("models", names.length > 0, names);

console.log(wrong ? `${wrong} wrong` : "all as it should be");
process.exit(wrong ? 1 : 0);
