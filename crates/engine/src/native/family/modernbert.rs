//! ModernBERT: a stream that layers norm as they read it, rotary positions, gated feed-forward parts, and layers that see a
//! window between layers that see all. Source: transformers' modeling file.

use serde_json::Value;

use super::{
    Attention, Classifier, Embedding, Encoder, Family, FamilySource, FeedForward, HeadStep, Layer, Norm, NormKind,
    Norms, Pointwise, Reads, SequenceHead, Sight, Taken, Transform, VocabularyHead, always, heads::Heads,
    layer_kind::LayerKind, plain_scale, rope_keys, source::product,
};
use crate::error::LoadError;

pub(super) const FAMILY: Family = Family { model_types: &["modernbert"], is: always, describe, experimental: false };

/// θ of layers that see all, and of those that see a window, where a file says nothing.
const THETAS: [f64; 2] = [160_000.0, 10_000.0];
/// Every so many layers one sees all, where a file says nothing.
const EVERY: usize = 3;

fn describe(source: &mut FamilySource<'_>) -> Result<Encoder, LoadError> {
    source.set_prefix(&["model."], "embeddings.tok_embeddings.weight");
    source.without_effect(&[
        "layer_norm_eps",
        "position_embedding_type",
        "deterministic_flash_attn",
        "sparse_prediction",
        "sparse_pred_ignore_index",
        "repad_logits_with_grad",
        "norm_bias",
        "attention_bias",
        "mlp_bias",
        "decoder_bias",
        "classifier_bias",
    ]);
    let hidden = source.size(&["hidden_size"])?;
    let heads = source.size(&["num_attention_heads"])?;
    let size = source.head_size(hidden, heads)?;
    let (count, inner) = (source.layers(&["num_hidden_layers"])?, source.size(&["intermediate_size"])?);
    let eps = source.eps(&["norm_eps"], 1e-5)?;
    let act = source.act("hidden_activation", Pointwise::Gelu)?;
    let window = source.size_if_there(&["local_attention"])?.unwrap_or(128) / 2;
    let kinds = kinds(source, count)?;
    let ropes = [
        rope_keys::rope(source, Some("full_attention"), &["global_rope_theta"], THETAS[0], size)?,
        rope_keys::rope(source, Some("sliding_attention"), &["local_rope_theta"], THETAS[1], size)?,
    ];
    source.without_effect(&["global_rope_theta", "local_rope_theta"]);
    let norm = |name: &str| source.bare_layer_norm(name, eps);
    let layer = |(i, kind): (usize, &LayerKind)| {
        let name = |part: &str| format!("layers.{i}.{part}");
        let [query, key, value] = source.thirds(&name("attn.Wqkv"), hidden, hidden);
        let half = |first| source.part(&name("mlp.Wi"), hidden, 2 * inner, Taken::From { first, rows: inner });
        let (rope, sight) = match kind {
            LayerKind::Full => (&ropes[0], Sight::All),
            LayerKind::Sliding => (&ropes[1], Sight::Window(window)),
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
                out: source.linear(&name("attn.Wo"), hidden, hidden),
                query_key_norm: None,
                rope: Some(rope.clone()),
                sight,
                distances: None,
            },
            feed_forward: FeedForward::Gated {
                gate: half(0),
                up: half(inner),
                act,
                down: source.linear(&name("mlp.Wo"), inner, hidden),
            },
            norms: Norms::Pre {
                // The embedding's own norm stands before the first layer.
                attention: (i > 0).then(|| norm(&name("attn_norm"))),
                feed_forward: norm(&name("mlp_norm")),
                given: None,
            },
        }
    };
    let layers = kinds.iter().enumerate().map(layer).collect();
    let last_norm = norm("final_norm");
    let embedding_norm = norm("embeddings.norm");
    Ok(Encoder {
        hidden,
        vocab: source.size(&["vocab_size"])?,
        longest: source.longest(&["max_position_embeddings"])?,
        embedding: Embedding {
            words: source.tensor("embeddings.tok_embeddings.weight"),
            width: hidden,
            scale: None,
            positions: None,
            segments: None,
            norm: Some(embedding_norm),
            projection: None,
        },
        layers,
        last_norm: Some(last_norm),
        heads: self::heads(source, hidden, eps)?,
        unseen: false,
    })
}

/// Which layers see all.
fn kinds(source: &mut FamilySource<'_>, count: usize) -> Result<Vec<LayerKind>, LoadError> {
    let every = source.size_if_there(&["global_attn_every_n_layers"])?;
    let named = source.take::<Vec<String>>("layer_types")?;
    let by_rule = |every: usize| {
        (0..count).map(|i| if i % every == 0 { LayerKind::Full } else { LayerKind::Sliding }).collect::<Vec<_>>()
    };
    let Some(named) = named else { return Ok(by_rule(every.unwrap_or(EVERY))) };
    LayerKind::named(source, &named, count)
}

fn heads(source: &mut FamilySource<'_>, hidden: usize, eps: f32) -> Result<Heads, LoadError> {
    let reads = match source.take::<String>("classifier_pooling")?.as_deref() {
        None | Some("cls") => Reads::First,
        Some("mean") => Reads::Mean,
        Some(other) => {
            return Err(source.keys.refused("classifier_pooling", &Value::from(other), "cls and mean are"));
        }
    };
    let act = source.act("classifier_activation", Pointwise::Gelu)?;
    let dense = product("head.dense", hidden, hidden, source.weights.has("head.dense.bias"));
    let bias = "head.norm.bias";
    let norm = Norm {
        kind: NormKind::Layer,
        weight: "head.norm.weight".to_owned(),
        bias: source.weights.has(bias).then(|| bias.to_owned()),
        eps,
    };
    let classifier = Classifier {
        steps: vec![HeadStep::Linear(dense.clone()), HeadStep::Act(act), HeadStep::Norm(norm.clone())],
        out: "classifier".to_owned(),
        has_bias: true,
    };
    let vocabulary = VocabularyHead {
        transform: Some(Transform { dense, act, norm }),
        decoder: "decoder.weight".to_owned(),
        biases: vec!["decoder.bias".to_owned()],
    };
    Ok(Heads {
        sequence: Some(SequenceHead { reads, classifier: classifier.clone() }),
        tokens: Some(classifier),
        causal: None,
        vocabulary: Some(vocabulary),
    })
}
