//! MPNet: BERT without segments, with one table of relative positions for all layers. Source: transformers' modeling file.

use serde_json::Value;

use super::{
    Attention, Classifier, DistanceBuckets, Distances, Embedding, Encoder, Family, FamilySource, FeedForward, HeadStep,
    Layer, Norms, Pointwise, Reads, SequenceHead, Sight, Transform, VocabularyHead, always,
    encoder::Positions,
    heads::Heads,
    plain_scale,
    source::{layer_norm, product},
};
use crate::error::LoadError;

pub(super) const FAMILY: Family = Family { model_types: &["mpnet"], is: always, describe, experimental: false };

/// Id of the pad token, and of its row of positions: fixed in the family's code.
const PAD: u32 = 1;
/// Buckets of distances, of which the family's code takes no other number.
const BUCKETS: DistanceBuckets = DistanceBuckets { count: 32, furthest: 128 };

fn describe(source: &mut FamilySource<'_>) -> Result<Encoder, LoadError> {
    source.set_prefix(&["mpnet."], "embeddings.word_embeddings.weight");
    let hidden = source.size(&["hidden_size"])?;
    let heads = source.size(&["num_attention_heads"])?;
    let size = source.head_size(hidden, heads)?;
    let (layers, inner) = (source.layers(&["num_hidden_layers"])?, source.size(&["intermediate_size"])?);
    let eps = source.eps(&["layer_norm_eps"], 1e-12)?;
    let act = source.act("hidden_act", Pointwise::Gelu)?;
    source.only(&[("relative_attention_num_buckets", &[Value::from(BUCKETS.count)])])?;
    let (rows, first) = (source.size(&["max_position_embeddings"])?, PAD as usize + 1);
    if first >= rows {
        return Err(LoadError::invalid(
            source.keys.path(),
            format!("max_position_embeddings {rows} leaves no room past the pad token's"),
        ));
    }
    let layer = |i: usize| {
        let name = |part: &str| format!("encoder.layer.{i}.{part}");
        Layer {
            attention: Attention {
                heads,
                kv_heads: heads,
                size,
                scale: plain_scale(size),
                query: source.biased(&name("attention.attn.q"), hidden, hidden),
                key: source.biased(&name("attention.attn.k"), hidden, hidden),
                value: source.biased(&name("attention.attn.v"), hidden, hidden),
                out: source.biased(&name("attention.attn.o"), hidden, hidden),
                query_key_norm: None,
                rope: None,
                sight: Sight::All,
                distances: Some(Distances::Buckets {
                    name: source.tensor("encoder.relative_attention_bias.weight"),
                    buckets: BUCKETS,
                }),
            },
            feed_forward: FeedForward::Plain {
                up: source.biased(&name("intermediate.dense"), hidden, inner),
                act,
                down: source.biased(&name("output.dense"), inner, hidden),
            },
            norms: Norms::Post {
                attention: source.layer_norm(&name("attention.LayerNorm"), eps),
                feed_forward: source.layer_norm(&name("output.LayerNorm"), eps),
            },
        }
    };
    let layers = (0..layers).map(layer).collect();
    Ok(Encoder {
        hidden,
        vocab: source.size(&["vocab_size"])?,
        longest: rows - first,
        embedding: Embedding {
            words: source.tensor("embeddings.word_embeddings.weight"),
            width: hidden,
            scale: None,
            positions: Some(Positions {
                name: source.tensor("embeddings.position_embeddings.weight"),
                rows,
                first,
                pad: Some(PAD),
            }),
            segments: None,
            norm: Some(source.layer_norm("embeddings.LayerNorm", eps)),
            projection: None,
        },
        layers,
        last_norm: None,
        heads: Heads {
            sequence: Some(SequenceHead {
                reads: Reads::First,
                classifier: Classifier {
                    steps: vec![
                        HeadStep::Linear(product("classifier.dense", hidden, hidden, true)),
                        HeadStep::Act(Pointwise::Tanh),
                    ],
                    out: "classifier.out_proj".to_owned(),
                    has_bias: true,
                },
            }),
            tokens: Some(Classifier { steps: Vec::new(), out: "classifier".to_owned(), has_bias: true }),
            causal: None,
            vocabulary: Some(VocabularyHead {
                transform: Some(Transform {
                    dense: product("lm_head.dense", hidden, hidden, true),
                    act: Pointwise::Gelu,
                    norm: layer_norm(source.weights, "lm_head.layer_norm", eps),
                }),
                decoder: "lm_head.decoder.weight".to_owned(),
                biases: vec!["lm_head.bias".to_owned(), "lm_head.decoder.bias".to_owned()],
            }),
        },
        unseen: false,
    })
}
