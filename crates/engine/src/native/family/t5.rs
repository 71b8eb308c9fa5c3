//! The encoders of T5, mT5 and umT5: a stream that layers norm as they read it, scores without a scale, and buckets of
//! distances, from one table or from one a layer (umT5). Source: transformers' modeling files.

use serde_json::json;

use super::{
    Attention, DistanceBuckets, Distances, Embedding, Encoder, Family, FamilySource, FeedForward, Layer, NormKind,
    Norms, Pointwise, Sight, always, heads::Heads,
};
use crate::error::LoadError;

pub(super) const FAMILY: Family =
    Family { model_types: &["t5", "mt5", "umt5"], is: always, describe, experimental: false };

/// Furthest distance that may have a bucket of its own.
const MOST_DISTANCE: usize = 1 << 16;

/// Longest text: no table ends its positions, memory must.
const LONGEST: usize = 8192;

fn describe(source: &mut FamilySource<'_>) -> Result<Encoder, LoadError> {
    source.without_effect(&[
        "decoder_start_token_id",
        "dropout_rate",
        "is_encoder_decoder",
        "n_positions",
        "num_decoder_layers",
        "output_past",
        "scale_decoder_outputs",
        "task_specific_params",
        "max_new_tokens",
        "tokenizer_class",
    ]);
    let hidden = source.size(&["d_model", "hidden_size"])?;
    let heads = source.size(&["num_heads", "num_attention_heads"])?;
    let size = source.size(&["d_kv"])?;
    let (count, inner) = (source.layers(&["num_layers", "num_hidden_layers"])?, source.size(&["d_ff"])?);
    let eps = source.eps(&["layer_norm_epsilon"], 1e-6)?;
    let (act, gated) = activation(source)?;
    let buckets = DistanceBuckets {
        count: source.size_if_there(&["relative_attention_num_buckets"])?.unwrap_or(32),
        furthest: source.size_if_there(&["relative_attention_max_distance"])?.unwrap_or(128),
    };
    // Both sides have as many, and half of each are exact.
    if !buckets.count.is_multiple_of(4) || buckets.furthest <= buckets.count / 4 || buckets.furthest > MOST_DISTANCE {
        return Err(source.keys.refused(
            "relative_attention_num_buckets",
            &json!(buckets.count),
            "a multiple of 4 below 4 times relative_attention_max_distance is",
        ));
    }
    let norm = |name: &str| source.rms(NormKind::Rms, name, eps);
    let layer = |i: usize| {
        let name = |part: &str| format!("encoder.block.{i}.layer.{part}");
        let project = |part: &str| source.linear(&name(&format!("0.SelfAttention.{part}")), hidden, heads * size);
        let own = name("0.SelfAttention.relative_attention_bias.weight");
        let first = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight".to_owned();
        let down = source.linear(&name("1.DenseReluDense.wo"), inner, hidden);
        let up = |part: &str| source.linear(&name(&format!("1.DenseReluDense.{part}")), hidden, inner);
        Layer {
            attention: Attention {
                heads,
                kv_heads: heads,
                size,
                scale: 1.0,
                query: project("q"),
                key: project("k"),
                value: project("v"),
                out: source.linear(&name("0.SelfAttention.o"), heads * size, hidden),
                query_key_norm: None,
                rope: None,
                sight: Sight::All,
                distances: Some(Distances::Buckets {
                    name: source.tensor(if source.has(&own) { &own } else { &first }),
                    buckets,
                }),
            },
            feed_forward: if gated {
                FeedForward::Gated { gate: up("wi_0"), up: up("wi_1"), act, down }
            } else {
                FeedForward::Plain { up: up("wi"), act, down }
            },
            norms: Norms::Pre {
                attention: Some(norm(&name("0.layer_norm"))),
                feed_forward: norm(&name("1.layer_norm")),
                given: None,
            },
        }
    };
    let layers = (0..count).map(layer).collect();
    let last_norm = Some(norm("encoder.final_layer_norm"));
    let words = if source.has("shared.weight") { "shared.weight" } else { "encoder.embed_tokens.weight" };
    Ok(Encoder {
        hidden,
        vocab: source.size(&["vocab_size"])?,
        longest: LONGEST,
        embedding: Embedding {
            words: source.tensor(words),
            width: hidden,
            scale: None,
            positions: None,
            segments: None,
            norm: None,
            projection: None,
        },
        layers,
        last_norm,
        heads: Heads::default(),
        unseen: false,
    })
}

/// The activation, and whether it is a gate. `gated-gelu` is the tanh form.
fn activation(source: &mut FamilySource<'_>) -> Result<(Pointwise, bool), LoadError> {
    let default = if source.config.model_type == "t5" { "relu" } else { "gated-gelu" };
    let said = source.take::<String>("feed_forward_proj")?.unwrap_or_else(|| default.to_owned());
    let (gated, name) = match said.strip_prefix("gated-") {
        Some("gelu") => (true, "gelu_new"),
        Some(name) => (true, name),
        None => (false, said.as_str()),
    };
    let act = Pointwise::named(name).ok_or_else(|| source.not_native("feed_forward_proj", &said))?;
    // Stored beside it they would win in transformers: they must say the same.
    source.only(&[("dense_act_fn", &[json!(name)]), ("is_gated_act", &[json!(gated)])])?;
    Ok((act, gated))
}
