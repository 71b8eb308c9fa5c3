// Scores and vectors by the `cohere-ai` package.
import { CohereClient, CohereClientV2 } from "cohere-ai";
import { answer, input } from "./io.mjs";

const { url, reranker, embedder, query, documents } = await input();
const settings = { token: "none", environment: url };
const v2 = new CohereClientV2(settings);
const v1 = new CohereClient(settings);
const pairs = (given) => given.results.map((one) => [one.index, one.relevanceScore]);
const all = await v2.rerank({ model: reranker, query, documents });
const best = await v1.rerank({ model: reranker, query, documents, topN: 2, returnDocuments: true });
const vectors = await v2.embed({
  model: embedder,
  texts: documents,
  inputType: "search_document",
  embeddingTypes: ["float"],
});
let refusal = null;
try {
  await v2.rerank({ model: "nobody", query, documents });
} catch (error) {
  refusal = { name: error.constructor.name, status: error.statusCode };
}
answer({
  all: pairs(all),
  best: pairs(best),
  texts: best.results.map((one) => one.document.text),
  vectors: vectors.embeddings.float,
  refusal,
});
