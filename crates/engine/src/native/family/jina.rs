//! Jina v2: BERT without a table of positions, with slopes of distances and a gated feed-forward part. Known by its
//! `position_embedding_type`, for its `model_type` is BERT's. Source: its published configurations and the names in its weights.

use serde_json::json;

use super::{
    Attention, Classifier, Distances, Embedding, Encoder, Family, FamilySource, FeedForward, HeadStep, Layer, Norms,
    Pointwise, Reads, SequenceHead, Sight, Taken, encoder::Segments, heads::Heads, plain_scale,
};
use crate::error::LoadError;

pub(super) const FAMILY: Family = Family { model_types: &["bert"], is, describe, experimental: true };

fn is(source: &FamilySource<'_>) -> bool {
    matches!(source.peek::<String>("position_embedding_type"), Ok(Some(kind)) if kind == "alibi")
}

fn describe(source: &mut FamilySource<'_>) -> Result<Encoder, LoadError> {
    source.set_prefix(&["bert."], "embeddings.word_embeddings.weight");
    source.only(&[("position_embedding_type", &[json!("alibi")]), ("feed_forward_type", &[json!("geglu")])])?;
    source.without_effect(&["attn_implementation", "emb_pooler", "model_max_length"]);
    let hidden = source.size(&["hidden_size"])?;
    let heads = source.size(&["num_attention_heads"])?;
    let size = source.head_size(hidden, heads)?;
    let (count, inner) = (source.layers(&["num_hidden_layers"])?, source.size(&["intermediate_size"])?);
    let eps = source.eps(&["layer_norm_eps"], 1e-12)?;
    let act = source.act("hidden_act", Pointwise::Gelu)?;
    let rows = source.size_if_there(&["type_vocab_size"])?.unwrap_or(2);
    // The code model of the family norms queries and keys, under other names.
    if !source.has("encoder.layer.0.mlp.gated_layers.weight")
        || source.has("encoder.layer.0.attention.self.layer_norm_q.weight")
    {
        return Err(LoadError::unsupported(
            source.folder,
            "an encoder with alibi positions whose layers are not those of Jina v2 is not served natively",
        ));
    }
    let layer = |i: usize| {
        let name = |part: &str| format!("encoder.layer.{i}.{part}");
        let half =
            |first| source.part(&name("mlp.gated_layers"), hidden, 2 * inner, Taken::From { first, rows: inner });
        Layer {
            attention: Attention {
                heads,
                kv_heads: heads,
                size,
                scale: plain_scale(size),
                query: source.biased(&name("attention.self.query"), hidden, hidden),
                key: source.biased(&name("attention.self.key"), hidden, hidden),
                value: source.biased(&name("attention.self.value"), hidden, hidden),
                out: source.biased(&name("attention.output.dense"), hidden, hidden),
                query_key_norm: None,
                rope: None,
                sight: Sight::All,
                distances: Some(Distances::Slopes(slopes(heads))),
            },
            feed_forward: FeedForward::Gated {
                gate: half(0),
                up: half(inner),
                act,
                down: source.biased(&name("mlp.wo"), inner, hidden),
            },
            norms: Norms::Post {
                attention: source.layer_norm(&name("attention.output.LayerNorm"), eps),
                feed_forward: source.layer_norm(&name("mlp.layernorm"), eps),
            },
        }
    };
    let layers = (0..count).map(layer).collect();
    let mut steps = Vec::new();
    if source.has("pooler.dense.weight") {
        steps = vec![HeadStep::Linear(source.biased("pooler.dense", hidden, hidden)), HeadStep::Act(Pointwise::Tanh)];
    }
    Ok(Encoder {
        hidden,
        vocab: source.size(&["vocab_size"])?,
        longest: source.longest(&["max_position_embeddings"])?,
        embedding: Embedding {
            words: source.tensor("embeddings.word_embeddings.weight"),
            width: hidden,
            scale: None,
            positions: None,
            segments: Some(Segments { name: source.tensor("embeddings.token_type_embeddings.weight"), rows }),
            norm: Some(source.layer_norm("embeddings.LayerNorm", eps)),
            projection: None,
        },
        layers,
        last_norm: None,
        heads: Heads {
            sequence: Some(SequenceHead {
                reads: Reads::First,
                classifier: Classifier { steps, out: "classifier".to_owned(), has_bias: true },
            }),
            tokens: Some(Classifier { steps: Vec::new(), out: "classifier".to_owned(), has_bias: true }),
            causal: None,
            vocabulary: None,
        },
        unseen: false,
    })
}

/// Slopes of heads: powers of two where there are as many heads, else those of the next power of two below and every other
/// one of the next above.
fn slopes(heads: usize) -> Vec<f32> {
    let of = |n: usize| (1..=n).map(move |h| f64::powf(2.0, -8.0 * h as f64 / n as f64));
    let below = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    let all = of(below).chain(of(2 * below).step_by(2)).take(heads);
    #[expect(clippy::cast_possible_truncation, reason = "PyTorch has them in f32")]
    all.map(|slope| slope as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_of_other_numbers_of_heads_fill_the_gaps() {
        assert_eq!(slopes(8), [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015_625, 0.007_812_5, 0.003_906_25]);
        let twelve = slopes(12);
        assert_eq!(twelve[..8], slopes(8));
        for (got, want) in twelve[8..].iter().zip([1.0, 0.5, 0.25, 0.125].map(|x| x * std::f32::consts::FRAC_1_SQRT_2))
        {
            assert!((got - want).abs() < 1e-6);
        }
    }
}
