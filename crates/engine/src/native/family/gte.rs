//! GTE's "new" encoder: BERT with rotary positions, one table of which may be stretched at every length, and a gated
//! feed-forward part; under the names of its own code or of transformers 5. Sources: transformers' modeling file, the
//! configuration files of the published models.

use serde_json::json;

use super::{
    Attention, Classifier, Embedding, Encoder, Family, FamilySource, FeedForward, HeadStep, Layer, Norms, Pointwise,
    Reads, SequenceHead, Sight, Taken, Transform, VocabularyHead, always,
    heads::Heads,
    plain_scale, rope_keys,
    source::{layer_norm, product},
};
use crate::error::LoadError;

pub(super) const FAMILY: Family = Family { model_types: &["new", "gte"], is: always, describe, experimental: false };

/// θ where a file says nothing: of its own code, and of transformers 5.
const THETA: [f64; 2] = [10_000.0, 160_000.0];

fn describe(source: &mut FamilySource<'_>) -> Result<Encoder, LoadError> {
    source.set_prefix(&["new.", "gte."], "embeddings.word_embeddings.weight");
    source.unset(&["logn_attention_scale", "logn_attention_clip1"])?;
    source.only(&[("layer_norm_type", &[json!("layer_norm")]), ("position_embedding_type", &[json!("rope")])])?;
    source.without_effect(&["pack_qkv", "unpad_inputs", "use_memory_efficient_attention"]);
    let hidden = source.size(&["hidden_size"])?;
    let heads = source.size(&["num_attention_heads"])?;
    let size = source.head_size(hidden, heads)?;
    source.only(&[("head_dim", &[json!(size)])])?;
    let (count, inner) = (source.layers(&["num_hidden_layers"])?, source.size(&["intermediate_size"])?);
    let eps = source.eps(&["layer_norm_eps"], 1e-12)?;
    let act = source.act("hidden_act", Pointwise::Gelu)?;
    let theta = if source.config.model_type == "gte" { THETA[1] } else { THETA[0] };
    let rope = rope_keys::rope(source, None, &["rope_theta"], theta, size)?;
    let segments = source.segments()?;
    let new = source.has("layers.0.self_attn.q_proj.weight");
    let at = |i: usize, old: &str, name: &str| {
        if new { format!("layers.{i}.{name}") } else { format!("encoder.layer.{i}.{old}") }
    };
    let layer = |i: usize| {
        let [query, key, value] = if new {
            ["q_proj", "k_proj", "v_proj"]
                .map(|part| source.linear(&format!("layers.{i}.self_attn.{part}"), hidden, hidden))
        } else {
            source.thirds(&at(i, "attention.qkv_proj", ""), hidden, hidden)
        };
        // The stored product's first half is the one that is not activated.
        let half =
            |first| source.part(&at(i, "mlp.up_gate_proj", ""), hidden, 2 * inner, Taken::From { first, rows: inner });
        let (gate, up) = if new {
            (
                source.linear(&at(i, "", "mlp.gate_proj"), hidden, inner),
                source.linear(&at(i, "", "mlp.up_proj"), hidden, inner),
            )
        } else {
            (half(inner), half(0))
        };
        Layer {
            attention: Attention {
                heads,
                kv_heads: heads,
                size,
                scale: plain_scale(size),
                query,
                key,
                value,
                out: source.linear(&at(i, "attention.o_proj", "self_attn.o_proj"), hidden, hidden),
                query_key_norm: None,
                rope: Some(rope.clone()),
                sight: Sight::All,
                distances: None,
            },
            feed_forward: FeedForward::Gated {
                gate,
                up,
                act,
                down: source.linear(&at(i, "mlp.down_proj", "mlp.down_proj"), inner, hidden),
            },
            norms: Norms::Post {
                attention: source.layer_norm(&at(i, "attn_ln", "post_attention_layernorm"), eps),
                feed_forward: source.layer_norm(&at(i, "mlp_ln", "post_mlp_layernorm"), eps),
            },
        }
    };
    let layers = (0..count).map(layer).collect();
    Ok(Encoder {
        hidden,
        vocab: source.size(&["vocab_size"])?,
        longest: source.longest(&["max_position_embeddings"])?,
        embedding: Embedding {
            words: source.tensor("embeddings.word_embeddings.weight"),
            width: hidden,
            scale: None,
            positions: None,
            segments,
            norm: Some(source.layer_norm("embeddings.LayerNorm", eps)),
            projection: None,
        },
        layers,
        last_norm: None,
        heads: self::heads(source, hidden, act, eps),
        unseen: false,
    })
}

fn heads(source: &FamilySource<'_>, hidden: usize, act: Pointwise, eps: f32) -> Heads {
    let mut steps = Vec::new();
    if source.has("pooler.dense.weight") {
        steps = vec![HeadStep::Linear(source.linear("pooler.dense", hidden, hidden)), HeadStep::Act(Pointwise::Tanh)];
    }
    Heads {
        sequence: Some(SequenceHead {
            reads: Reads::First,
            classifier: Classifier { steps, out: "classifier".to_owned(), has_bias: true },
        }),
        tokens: Some(Classifier { steps: Vec::new(), out: "classifier".to_owned(), has_bias: true }),
        causal: None,
        vocabulary: Some(VocabularyHead {
            transform: Some(Transform {
                dense: product("lm_head.dense", hidden, hidden, true),
                act,
                norm: layer_norm(source.weights, "lm_head.norm", eps),
            }),
            decoder: "lm_head.decoder.weight".to_owned(),
            biases: vec!["lm_head.decoder.bias".to_owned(), "lm_head.bias".to_owned()],
        }),
    }
}
