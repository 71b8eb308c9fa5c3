//! Gemma 3's text model in which every token sees all (EmbeddingGemma): norms before and behind each part, norms of heads, layers
//! that see a window between layers that see all. Source: transformers' modeling file.

use super::{
    Attention, Classifier, Embedding, Encoder, Family, FamilySource, FeedForward, Layer, NormKind, Norms, Pointwise,
    QueryKeyNorm, Reads, SequenceHead, Sight, always, encoder::GivenNorms, heads::Heads, layer_kind::LayerKind,
    rope_keys,
};
use crate::error::LoadError;

pub(super) const FAMILY: Family = Family { model_types: &["gemma3_text"], is: always, describe, experimental: false };

/// θ of layers that see all, and of those that see a window, where a file says nothing.
const THETAS: [f64; 2] = [1_000_000.0, 10_000.0];
/// Every so many layers one sees all, where a file says nothing.
const EVERY: usize = 6;

fn describe(source: &mut FamilySource<'_>) -> Result<Encoder, LoadError> {
    source.set_prefix(&["model."], "embed_tokens.weight");
    if source.take::<bool>("use_bidirectional_attention")? != Some(true) {
        return Err(LoadError::unsupported(
            source.keys.path(),
            "use_bidirectional_attention is not true: a causal model of this family is not served",
        ));
    }
    source.only(&[("attn_logit_softcapping", &[]), ("final_logit_softcapping", &[])])?;
    source.without_effect(&["attention_bias", "_sliding_window_pattern"]);
    let hidden = source.size(&["hidden_size"])?;
    let heads = source.size(&["num_attention_heads"])?;
    let kv_heads = source.kv_heads(heads)?;
    let size = source.size_if_there(&["head_dim"])?.unwrap_or(256);
    let (count, inner) = (source.layers(&["num_hidden_layers"])?, source.size(&["intermediate_size"])?);
    let eps = source.eps(&["rms_norm_eps"], 1e-6)?;
    let act = source.act("hidden_activation", Pointwise::GeluTanh)?;
    let scalar = source.take::<f32>("query_pre_attn_scalar")?.unwrap_or(256.0);
    if !(scalar.is_finite() && scalar > 0.0) {
        return Err(LoadError::invalid(source.keys.path(), format!("query_pre_attn_scalar is {scalar}, not above 0")));
    }
    let window = source.size_if_there(&["sliding_window"])?.unwrap_or(4096) / 2;
    let kinds = kinds(source, count)?;
    let ropes = [
        rope_keys::rope(source, Some("full_attention"), &["rope_theta"], THETAS[0], size)?,
        rope_keys::rope(source, Some("sliding_attention"), &["rope_local_base_freq"], THETAS[1], size)?,
    ];
    let norm = |name: &str| source.rms(NormKind::RmsOnePlus, name, eps);
    let layer = |(i, kind): (usize, &LayerKind)| {
        let name = |part: &str| format!("layers.{i}.{part}");
        let project =
            |part: &str, heads: usize| source.linear(&name(&format!("self_attn.{part}")), hidden, heads * size);
        let (rope, sight) = match kind {
            LayerKind::Full => (&ropes[0], Sight::All),
            LayerKind::Sliding => (&ropes[1], Sight::Window(window)),
        };
        Layer {
            attention: Attention {
                heads,
                kv_heads,
                size,
                scale: 1.0 / scalar.sqrt(),
                query: project("q_proj", heads),
                key: project("k_proj", kv_heads),
                value: project("v_proj", kv_heads),
                out: source.linear(&name("self_attn.o_proj"), heads * size, hidden),
                query_key_norm: Some(QueryKeyNorm {
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
                feed_forward: norm(&name("pre_feedforward_layernorm")),
                given: Some(Box::new(GivenNorms {
                    attention: norm(&name("post_attention_layernorm")),
                    feed_forward: norm(&name("post_feedforward_layernorm")),
                })),
            },
        }
    };
    let layers = kinds.iter().enumerate().map(layer).collect();
    let last_norm = Some(norm("norm"));
    let classifier =
        Classifier { steps: Vec::new(), out: "score".to_owned(), has_bias: source.weights.has("score.bias") };
    Ok(Encoder {
        hidden,
        vocab: source.size(&["vocab_size"])?,
        longest: source.longest(&["max_position_embeddings"])?,
        embedding: Embedding {
            words: source.tensor("embed_tokens.weight"),
            width: hidden,
            scale: Some((hidden as f32).sqrt()),
            positions: None,
            segments: None,
            norm: None,
            projection: None,
        },
        layers,
        last_norm,
        heads: Heads {
            sequence: Some(SequenceHead { reads: Reads::Last { pad: source.pad() }, classifier: classifier.clone() }),
            tokens: Some(classifier),
            causal: None,
            vocabulary: None,
        },
        unseen: false,
    })
}

/// Which layers see all.
fn kinds(source: &mut FamilySource<'_>, count: usize) -> Result<Vec<LayerKind>, LoadError> {
    let every = source.size_if_there(&["sliding_window_pattern"])?.unwrap_or(EVERY);
    match source.take::<Vec<String>>("layer_types")? {
        Some(named) => LayerKind::named(source, &named, count),
        None => Ok((1..=count).map(|i| if i % every == 0 { LayerKind::Full } else { LayerKind::Sliding }).collect()),
    }
}
