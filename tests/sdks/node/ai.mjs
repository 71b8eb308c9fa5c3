// Reranking and vectors by the AI SDK with its Cohere provider.
import { createCohere } from "@ai-sdk/cohere";
import { embedMany, rerank } from "ai";
import { answer, input } from "./io.mjs";

const { url, reranker, embedder, query, documents } = await input();
const cohere = createCohere({ baseURL: `${url}/v2`, apiKey: "none" });
const ranked = await rerank({ model: cohere.reranking(reranker), query, documents, topN: 3, maxRetries: 0 });
const { embeddings, usage } = await embedMany({
  model: cohere.embedding(embedder),
  values: documents,
  maxRetries: 0,
});
answer({ ranked: ranked.ranking.map((one) => [one.originalIndex, one.score]), embeddings, usage });
