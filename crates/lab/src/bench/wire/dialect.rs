//! The bodies of each HTTP dialect, there and back.

use serde::Deserialize;
use serde_json::json;

use super::{
    BenchProtocol, BenchTask, WireCall,
    reply::{WireReply, fingerprint},
};

/// The path of a task below the server's address.
pub(super) fn path(protocol: BenchProtocol, task: BenchTask, model: &str) -> String {
    match (protocol, task) {
        (BenchProtocol::OpenAi, _) => "/v1/embeddings".to_owned(),
        (BenchProtocol::Cohere, _) => "/v2/rerank".to_owned(),
        (BenchProtocol::Jina, _) => "/v1/rerank".to_owned(),
        (BenchProtocol::KServe, _) => format!("/v2/models/{model}/infer"),
        (_, BenchTask::Rerank) => "/rerank".to_owned(),
        (_, BenchTask::Embed) => "/embed".to_owned(),
        (_, BenchTask::Classify) => "/predict".to_owned(),
    }
}

/// What is sent. Texts that are too long may be cut, and scores come as they are where the dialect can say so.
pub(super) fn body(
    protocol: BenchProtocol,
    task: BenchTask,
    model: &str,
    &WireCall { query, ref texts, .. }: &WireCall<'_>,
) -> Option<Vec<u8>> {
    // TEI's predict takes a list of lists: one text alone, or two that are read together.
    let lists = || texts.iter().map(|text| [text]).collect::<Vec<_>>();
    let body = match (protocol, task) {
        (BenchProtocol::OpenAi, _) => json!({"model": model, "input": texts, "encoding_format": "float"}),
        (BenchProtocol::KServe, BenchTask::Rerank) => json!({"inputs": [
            {"name": "query", "shape": [1], "datatype": "BYTES", "data": [query]},
            {"name": "documents", "shape": [texts.len()], "datatype": "BYTES", "data": texts},
        ]}),
        (BenchProtocol::KServe, _) => json!({"inputs": [
            {"name": "texts", "shape": [texts.len()], "datatype": "BYTES", "data": texts},
        ]}),
        (BenchProtocol::Cohere | BenchProtocol::Jina | BenchProtocol::Vllm, _) => {
            json!({"model": model, "query": query, "documents": texts, "top_n": texts.len(), "return_documents": false})
        }
        (_, BenchTask::Rerank) => json!({"query": query, "texts": texts, "truncate": true, "raw_scores": true}),
        (_, BenchTask::Embed) => json!({"inputs": texts, "truncate": true}),
        (_, BenchTask::Classify) => json!({"inputs": lists(), "truncate": true}),
    };
    serde_json::to_vec(&body).ok()
}

#[derive(Deserialize)]
struct RankedText {
    index: usize,
    score: f32,
}

#[derive(Deserialize)]
struct RankedResult {
    index: usize,
    relevance_score: f32,
}

#[derive(Deserialize)]
struct RankedResults {
    results: Vec<RankedResult>,
}

#[derive(Deserialize)]
struct OpenAiVector {
    index: usize,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct TokensUsed {
    #[serde(default)]
    total_tokens: u64,
}

#[derive(Deserialize)]
struct VectorList {
    data: Vec<OpenAiVector>,
    usage: Option<TokensUsed>,
}

#[derive(Deserialize)]
struct LabelScore {
    score: f32,
}

#[derive(Deserialize)]
struct OneTensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

#[derive(Deserialize)]
struct TensorList {
    outputs: Vec<OneTensor>,
}

/// What came back to so many texts; none where it is something else.
pub(super) fn answer(protocol: BenchProtocol, task: BenchTask, texts: usize, bytes: &[u8]) -> Option<WireReply> {
    let vectors = |rows: Vec<Vec<f32>>| rows.into_iter().map(|row| fingerprint(&row).unwrap_or(f32::NAN));
    Some(match (protocol, task) {
        (BenchProtocol::OpenAi, _) => {
            let list: VectorList = serde_json::from_slice(bytes).ok()?;
            let tokens = list.usage.map(|usage| usage.total_tokens).filter(|tokens| *tokens > 0);
            let mut rows: Vec<(usize, f32)> =
                list.data.iter().map(|one| (one.index, fingerprint(&one.embedding).unwrap_or(f32::NAN))).collect();
            // Nothing is ranked there: the order says nothing.
            rows.sort_by(|a, b| b.1.total_cmp(&a.1));
            WireReply { tokens, ..WireReply::ranked(texts, rows) }
        }
        (BenchProtocol::KServe, _) => {
            let tensor = serde_json::from_slice::<TensorList>(bytes).ok()?.outputs.into_iter().next()?;
            match tensor.shape.as_slice() {
                [_] | [_, 1] => WireReply::in_order(texts, tensor.data),
                [_, width] => {
                    let rows = tensor.data.chunks((*width).max(1)).map(<[f32]>::to_vec).collect();
                    WireReply::in_order(texts, vectors(rows))
                }
                _ => return None,
            }
        }
        (BenchProtocol::Cohere | BenchProtocol::Jina | BenchProtocol::Vllm, _) => {
            let list: RankedResults = serde_json::from_slice(bytes).ok()?;
            WireReply::ranked(texts, list.results.iter().map(|one| (one.index, one.relevance_score)))
        }
        (_, BenchTask::Rerank) => {
            let list: Vec<RankedText> = serde_json::from_slice(bytes).ok()?;
            WireReply::ranked(texts, list.iter().map(|one| (one.index, one.score)))
        }
        (_, BenchTask::Embed) => WireReply::in_order(texts, vectors(serde_json::from_slice(bytes).ok()?)),
        (_, BenchTask::Classify) => {
            let list: Vec<Vec<LabelScore>> = serde_json::from_slice(bytes).ok()?;
            let best = |labels: Vec<LabelScore>| labels.iter().map(|label| label.score).reduce(f32::max);
            WireReply::in_order(texts, list.into_iter().map(|labels| best(labels).unwrap_or(f32::NAN)))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(BenchProtocol, BenchTask, &str); 7] = [
        (BenchProtocol::Tei, BenchTask::Rerank, r#"[{"index":1,"score":2.5},{"index":0,"score":-1.0}]"#),
        (
            BenchProtocol::Cohere,
            BenchTask::Rerank,
            r#"{"id":"x","results":[{"index":1,"relevance_score":2.5},{"index":0,"relevance_score":-1.0}]}"#,
        ),
        (
            BenchProtocol::Vllm,
            BenchTask::Rerank,
            r#"{"results":[{"index":1,"relevance_score":2.5,"document":null},{"index":0,"relevance_score":-1.0}]}"#,
        ),
        (
            BenchProtocol::KServe,
            BenchTask::Rerank,
            r#"{"outputs":[{"name":"s","datatype":"FP32","shape":[2],"data":[-1.0,2.5]}]}"#,
        ),
        (
            BenchProtocol::Tei,
            BenchTask::Classify,
            r#"[[{"score":-1.0,"label":"a"},{"score":-3.0,"label":"b"}],[{"score":2.5,"label":"b"}]]"#,
        ),
        (BenchProtocol::KServe, BenchTask::Embed, r#"{"outputs":[{"shape":[2,2],"data":[3.0,4.0,4.0,3.0]}]}"#),
        (BenchProtocol::Tei, BenchTask::Embed, "[[3.0,4.0],[4.0,3.0]]"),
    ];

    #[test]
    fn every_dialect_gives_a_number_a_text_in_the_order_of_the_texts() {
        for (protocol, task, text) in ALL {
            let reply = answer(protocol, task, 2, text.as_bytes()).unwrap();
            let want = if task == BenchTask::Embed {
                vec![fingerprint(&[3.0, 4.0]), fingerprint(&[4.0, 3.0])]
            } else {
                vec![Some(-1.0), Some(2.5)]
            };
            assert_eq!((reply.values, reply.twice, reply.unsorted), (want, 0, false), "{protocol:?} {task:?}");
            assert!(answer(protocol, task, 2, b"{\"error\": \"no\"}").is_none(), "{protocol:?} {task:?}");
        }
        let openai = r#"{"data":[{"index":1,"embedding":[4.0,3.0]},{"index":0,"embedding":[3.0,4.0]}],"usage":{"total_tokens":9}}"#;
        let reply = answer(BenchProtocol::OpenAi, BenchTask::Embed, 2, openai.as_bytes()).unwrap();
        assert_eq!(reply.values, [fingerprint(&[3.0, 4.0]), fingerprint(&[4.0, 3.0])]);
        assert_eq!((reply.tokens, reply.unsorted), (Some(9), false));
    }

    #[test]
    fn bodies_name_texts_as_their_dialect_does() {
        let call = WireCall { query: "q", texts: vec!["a", "b"], attempt: 1, timeout: std::time::Duration::ZERO };
        let sent = |protocol, task| {
            let body = body(protocol, task, "m", &call).unwrap();
            serde_json::from_slice::<serde_json::Value>(&body).unwrap()
        };
        assert_eq!(sent(BenchProtocol::Tei, BenchTask::Rerank)["texts"], json!(["a", "b"]));
        assert_eq!(sent(BenchProtocol::Tei, BenchTask::Classify)["inputs"], json!([["a"], ["b"]]));
        assert_eq!(sent(BenchProtocol::Jina, BenchTask::Rerank)["documents"], json!(["a", "b"]));
        assert_eq!(sent(BenchProtocol::OpenAi, BenchTask::Embed)["input"], json!(["a", "b"]));
        assert_eq!(sent(BenchProtocol::KServe, BenchTask::Rerank)["inputs"][1]["data"], json!(["a", "b"]));
        assert_eq!(path(BenchProtocol::KServe, BenchTask::Embed, "m"), "/v2/models/m/infer");
    }
}
