//! Llama, Qwen2 and Qwen3 as encoders: a stream that layers norm as they read it, rotary positions, heads that share keys,
//! causal unless a file says otherwise. Qwen3 norms each head. Source: transformers' modeling files.

use serde_json::{Value, json};

use super::{
    Attention, Classifier, Embedding, Encoder, Family, FamilySource, FeedForward, Layer, NormKind, Norms, Pointwise,
    QueryKeyNorm, Reads, SequenceHead, Sight, always, heads::Heads, plain_scale, rope_keys,
};
use crate::error::LoadError;

pub(super) const FAMILY: Family =
    Family { model_types: &["qwen3", "qwen2", "llama"], is: always, describe, experimental: false };

/// θ where a file says nothing: the class default of all three.
const THETA: f64 = 10_000.0;
const EPS: f32 = 1e-6;

/// Tensor of the logits of the token to come, where they are not made by the word table.
const LANGUAGE_HEAD: &str = "lm_head.weight";

fn describe(source: &mut FamilySource<'_>) -> Result<Encoder, LoadError> {
    source.unset(&["use_sliding_window"])?;
    source.without_effect(&[
        "sliding_window",
        "max_window_layers",
        "attention_bias",
        "mlp_bias",
        "_attn_implementation",
    ]);
    let sight = direction(source)?;
    let reads = match source.take::<String>("pooling")?.as_deref() {
        None | Some("last") => Reads::Last { pad: source.pad() },
        Some("avg" | "mean") => Reads::Mean,
        Some(other) => return Err(source.keys.refused("pooling", &Value::from(other), "last and avg are")),
    };
    decoder(source, sight, (THETA, EPS), |source, _| {
        let classifier = |has_bias| Classifier { steps: Vec::new(), out: "score".to_owned(), has_bias };
        let has_bias = source.weights.has("score.bias");
        let tied = source.peek::<bool>("tie_word_embeddings")?.unwrap_or(false);
        let words = source.tensor("embed_tokens.weight");
        let causal =
            if source.weights.has(LANGUAGE_HEAD) { Some(LANGUAGE_HEAD.to_owned()) } else { tied.then_some(words) };
        Ok(Heads {
            sequence: Some(SequenceHead { reads, classifier: classifier(has_bias) }),
            tokens: Some(classifier(has_bias)),
            vocabulary: None,
            causal,
        })
    })
}

/// Causal, unless the configuration or the name of its class says that every token sees all.
fn direction(source: &mut FamilySource<'_>) -> Result<Sight, LoadError> {
    let both = source.take::<bool>("use_bidirectional_attention")?;
    let causal = source.take::<bool>("is_causal")?;
    let class = source.config.architecture();
    let named = class.contains("Bidirectional") || class.contains("BiQwen");
    Ok(if both == Some(true) || causal == Some(false) || named { Sight::All } else { Sight::Causal })
}

/// An encoder of Llama's shape: EuroBERT's too.
pub(super) fn decoder(
    source: &mut FamilySource<'_>,
    sight: Sight,
    (theta, eps): (f64, f32),
    heads_of: impl FnOnce(&mut FamilySource<'_>, usize) -> Result<Heads, LoadError>,
) -> Result<Encoder, LoadError> {
    source.set_prefix(&["model."], "embed_tokens.weight");
    let hidden = source.size(&["hidden_size"])?;
    let heads = source.size(&["num_attention_heads"])?;
    let kv_heads = source.kv_heads(heads)?;
    let size = match source.size_if_there(&["head_dim"])? {
        Some(size) => size,
        None => source.head_size(hidden, heads)?,
    };
    let (count, inner) = (source.layers(&["num_hidden_layers"])?, source.size(&["intermediate_size"])?);
    let eps = source.eps(&["rms_norm_eps"], eps)?;
    let act = source.act("hidden_act", Pointwise::Silu)?;
    let all_full = json!(vec!["full_attention"; count]);
    source.only(&[("layer_types", &[all_full])])?;
    let rope = rope_keys::rope(source, None, &["rope_theta"], theta, size)?;
    let norm = |name: &str| source.rms(NormKind::Rms, name, eps);
    let layer = |i: usize| {
        let name = |part: &str| format!("layers.{i}.{part}");
        let project =
            |part: &str, heads: usize| source.linear(&name(&format!("self_attn.{part}")), hidden, heads * size);
        let normed = source.has(&name("self_attn.q_norm.weight"));
        Layer {
            attention: Attention {
                heads,
                kv_heads,
                size,
                scale: plain_scale(size),
                query: project("q_proj", heads),
                key: project("k_proj", kv_heads),
                value: project("v_proj", kv_heads),
                out: source.linear(&name("self_attn.o_proj"), heads * size, hidden),
                query_key_norm: normed.then(|| QueryKeyNorm {
                    query: norm(&name("self_attn.q_norm")),
                    key: norm(&name("self_attn.k_norm")),
                }),
                rope: Some(rope.clone()),
                sight,
                distances: None,
            },
            feed_forward: FeedForward::Gated {
                gate: source.linear(&name("mlp.gate_proj"), hidden, inner),
                up: source.linear(&name("mlp.up_proj"), hidden, inner),
                act,
                down: source.linear(&name("mlp.down_proj"), inner, hidden),
            },
            norms: Norms::Pre {
                attention: Some(norm(&name("input_layernorm"))),
                feed_forward: norm(&name("post_attention_layernorm")),
                given: None,
            },
        }
    };
    let layers = (0..count).map(layer).collect();
    let last_norm = Some(norm("norm"));
    Ok(Encoder {
        hidden,
        vocab: source.size(&["vocab_size"])?,
        longest: source.longest(&["max_position_embeddings"])?,
        embedding: Embedding {
            words: source.tensor("embed_tokens.weight"),
            width: hidden,
            scale: None,
            positions: None,
            segments: None,
            norm: None,
            projection: None,
        },
        layers,
        last_norm,
        heads: heads_of(source, hidden)?,
        unseen: false,
    })
}
