//! NeoBERT: a stream that layers norm as they read it, rotary positions over neighbouring numbers, gated feed-forward parts.
//! Source: its published configuration and the names in its weights.

use serde_json::json;

use super::{
    Attention, Classifier, Embedding, Encoder, Family, FamilySource, FeedForward, HeadStep, Layer, NormKind, Norms,
    Pointwise, Reads, SequenceHead, Sight, Taken, VocabularyHead, always, heads::Heads, plain_scale, rope_keys,
    source::product,
};
use crate::error::LoadError;

pub(super) const FAMILY: Family = Family { model_types: &["neobert"], is: always, describe, experimental: true };

/// Fixed in the family's code.
const THETA: f64 = 10_000.0;

fn describe(source: &mut FamilySource<'_>) -> Result<Encoder, LoadError> {
    source.set_prefix(&["model."], "encoder.weight");
    source.only(&[
        ("hidden_act", &[json!("swiglu"), json!("SwiGLU")]),
        ("rms_norm", &[json!(true)]),
        ("rope", &[json!(true)]),
        ("ngpt", &[json!(false)]),
    ])?;
    source.without_effect(&[
        "decoder_init_range",
        "embedding_init_range",
        "dropout",
        "dim_head",
        "kwargs",
        "base_scale",
    ]);
    let hidden = source.size(&["hidden_size"])?;
    let heads = source.size(&["num_attention_heads"])?;
    let size = source.head_size(hidden, heads)?;
    let count = source.layers(&["num_hidden_layers"])?;
    // Two thirds, rounded up to a multiple of 8.
    let inner = (2 * source.size(&["intermediate_size"])? / 3).next_multiple_of(8);
    let eps = source.eps(&["norm_eps"], 1e-6)?;
    let rope = rope_keys::rope(source, None, &["rope_theta"], THETA, size)?;
    let norm = |name: &str| source.rms(NormKind::Rms, name, eps);
    let layer = |i: usize| {
        let name = |part: &str| format!("transformer_encoder.{i}.{part}");
        // Head by head its query, key and value. Neighbours that turn together are put half a head apart: of queries and keys
        // alike, so that their products stay.
        let turned = |part: usize| {
            let numbers = (0..size).step_by(2).chain((1..size).step_by(2));
            let each = (0..heads).flat_map(|head| numbers.clone().map(move |d| head * 3 * size + part * size + d));
            source.part(&name("qkv"), hidden, 3 * hidden, Taken::Each(each.collect()))
        };
        let values = (0..heads).flat_map(|head| (0..size).map(move |d| head * 3 * size + 2 * size + d));
        let half = |first| source.part(&name("ffn.w12"), hidden, 2 * inner, Taken::From { first, rows: inner });
        Layer {
            attention: Attention {
                heads,
                kv_heads: heads,
                size,
                scale: plain_scale(size),
                query: turned(0),
                key: turned(1),
                value: source.part(&name("qkv"), hidden, 3 * hidden, Taken::Each(values.collect())),
                out: source.linear(&name("wo"), hidden, hidden),
                query_key_norm: None,
                rope: Some(rope.clone()),
                sight: Sight::All,
                distances: None,
            },
            feed_forward: FeedForward::Gated {
                gate: half(0),
                up: half(inner),
                act: Pointwise::Silu,
                down: source.linear(&name("ffn.w3"), inner, hidden),
            },
            norms: Norms::Pre {
                attention: Some(norm(&name("attention_norm"))),
                feed_forward: norm(&name("ffn_norm")),
                given: None,
            },
        }
    };
    let layers = (0..count).map(layer).collect();
    let last_norm = Some(norm("layer_norm"));
    Ok(Encoder {
        hidden,
        vocab: source.size(&["vocab_size"])?,
        longest: source.longest(&["max_length", "max_position_embeddings"])?,
        embedding: Embedding {
            words: source.tensor("encoder.weight"),
            width: hidden,
            scale: None,
            positions: None,
            segments: None,
            norm: None,
            projection: None,
        },
        layers,
        last_norm,
        heads: Heads {
            sequence: Some(SequenceHead {
                reads: Reads::First,
                classifier: Classifier {
                    steps: vec![
                        HeadStep::Linear(product("dense", hidden, hidden, true)),
                        HeadStep::Act(Pointwise::Tanh),
                    ],
                    out: "classifier".to_owned(),
                    has_bias: true,
                },
            }),
            tokens: None,
            causal: None,
            vocabulary: Some(VocabularyHead {
                transform: None,
                decoder: "decoder.weight".to_owned(),
                biases: vec!["decoder.bias".to_owned()],
            }),
        },
        unseen: false,
    })
}
