// Vectors by the `openai` package, without arguments (it asks for base64) and as numbers.
import OpenAI from "openai";
import { answer, input } from "./io.mjs";

const { url, model, texts } = await input();
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const plain = await client.embeddings.create({ model, input: texts });
const numbers = await client.embeddings.create({ model, input: texts, encoding_format: "float" });
const models = [];
for await (const one of client.models.list()) models.push(one.id);
let refusal = null;
try {
  await client.embeddings.create({ model: "nobody", input: "w7" });
} catch (error) {
  refusal = { name: error.constructor.name, status: error.status, code: error.code };
}
const rows = (given) => given.data.map((one) => Array.from(one.embedding));
answer({ plain: rows(plain), numbers: rows(numbers), usage: plain.usage, models, refusal });
