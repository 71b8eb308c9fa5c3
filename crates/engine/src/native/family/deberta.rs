//! DeBERTa-v2 and v3: BERT whose scores meet vectors of distances. A convolution (v2-xlarge) and embeddings of another width are
//! refused. Source: transformers' modeling file.

use serde_json::{Value, json};

use super::{
    Attention, Classifier, DistanceVectors, Distances, Embedding, Encoder, Family, FamilySource, FeedForward, HeadStep,
    Layer, Norm, Norms, Pointwise, Reads, SequenceHead, Sight, Transform, VocabularyHead, always,
    encoder::{Positions, Segments},
    heads::Heads,
    source::{layer_norm, product},
};
use crate::error::LoadError;

pub(super) const FAMILY: Family = Family { model_types: &["deberta-v2"], is: always, describe, experimental: false };

/// Furthest distance that may have a bucket of its own.
const MOST_DISTANCE: usize = 1 << 16;

/// What a layer's attention has beside queries, keys and values.
struct Relative {
    table: String,
    norm: Option<Norm>,
    span: usize,
    buckets: Option<(usize, usize)>,
    /// Queries meet vectors, and keys do.
    terms: [bool; 2],
    /// Both are made by the layer's own products of keys and queries.
    shared: bool,
}

fn describe(source: &mut FamilySource<'_>) -> Result<Encoder, LoadError> {
    source.set_prefix(&["deberta."], "embeddings.word_embeddings.weight");
    source.only(&[("conv_kernel_size", &[json!(0)])])?;
    source.without_effect(&["legacy", "conv_act", "conv_groups"]);
    let hidden = source.size(&["hidden_size"])?;
    source.only(&[("embedding_size", &[json!(hidden)])])?;
    let heads = source.size(&["num_attention_heads"])?;
    let size = match source.size_if_there(&["attention_head_size"])? {
        Some(size) => size,
        None => source.head_size(hidden, heads)?,
    };
    let (count, inner) = (source.layers(&["num_hidden_layers"])?, source.size(&["intermediate_size"])?);
    let eps = source.eps(&["layer_norm_eps"], 1e-7)?;
    let act = source.act("hidden_act", Pointwise::Gelu)?;
    let longest = source.longest(&["max_position_embeddings"])?;
    let relative = relative(source, longest, eps)?;
    let terms = relative.as_ref().map_or(0, |r| r.terms.iter().filter(|&&there| there).count());
    let all = heads * size;
    let layer = |i: usize| {
        let name = |part: &str| format!("encoder.layer.{i}.{part}");
        let part = |part: &str| source.biased(&name(&format!("attention.self.{part}")), hidden, all);
        let (query, key) = (part("query_proj"), part("key_proj"));
        let distances = relative.as_ref().map(|r| {
            let (of_keys, of_queries) = if r.shared {
                (key.clone(), query.clone())
            } else {
                let own = |part: &str| source.linear(&name(&format!("attention.self.{part}")), hidden, all);
                (own("pos_key_proj"), own("pos_query_proj"))
            };
            Distances::Vectors(Box::new(DistanceVectors {
                table: r.table.clone(),
                norm: r.norm.clone(),
                span: r.span,
                buckets: r.buckets,
                key: r.terms[0].then_some(of_keys),
                query: r.terms[1].then_some(of_queries),
            }))
        });
        Layer {
            attention: Attention {
                heads,
                kv_heads: heads,
                size,
                scale: 1.0 / ((size * (1 + terms)) as f32).sqrt(),
                query,
                key,
                value: part("value_proj"),
                out: source.biased(&name("attention.output.dense"), all, hidden),
                query_key_norm: None,
                rope: None,
                sight: Sight::All,
                distances,
            },
            feed_forward: FeedForward::Plain {
                up: source.biased(&name("intermediate.dense"), hidden, inner),
                act,
                down: source.biased(&name("output.dense"), inner, hidden),
            },
            norms: Norms::Post {
                attention: source.layer_norm(&name("attention.output.LayerNorm"), eps),
                feed_forward: source.layer_norm(&name("output.LayerNorm"), eps),
            },
        }
    };
    let layers = (0..count).map(layer).collect();
    let (positions, segments) = places(source, longest)?;
    Ok(Encoder {
        hidden,
        vocab: source.size(&["vocab_size"])?,
        longest,
        embedding: Embedding {
            words: source.tensor("embeddings.word_embeddings.weight"),
            width: hidden,
            scale: None,
            positions,
            segments,
            norm: Some(source.layer_norm("embeddings.LayerNorm", eps)),
            projection: None,
        },
        layers,
        last_norm: None,
        heads: self::heads(source, hidden, act, eps)?,
        unseen: false,
    })
}

/// Tables of positions and of segments, which most of its models have none of.
fn places(source: &mut FamilySource<'_>, rows: usize) -> Result<(Option<Positions>, Option<Segments>), LoadError> {
    let biased = source.take::<bool>("position_biased_input")?.unwrap_or(true);
    let name = |part: &str| source.tensor(&format!("embeddings.{part}_embeddings.weight"));
    let positions = biased.then(|| Positions { name: name("position"), rows, first: 0, pad: None });
    Ok((positions, source.segments()?))
}

fn relative(source: &mut FamilySource<'_>, longest: usize, eps: f32) -> Result<Option<Relative>, LoadError> {
    let buckets = source.take::<i64>("position_buckets")?.and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
    let furthest = source.take::<i64>("max_relative_positions")?;
    let furthest = furthest.and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0).unwrap_or(longest);
    let kinds = match source.take::<Value>("pos_att_type")? {
        None => Vec::new(),
        Some(Value::String(text)) => text.split('|').map(|kind| kind.trim().to_lowercase()).collect(),
        Some(Value::Array(list)) => list.iter().map(|kind| kind.as_str().unwrap_or_default().to_lowercase()).collect(),
        Some(other) => return Err(source.keys.refused("pos_att_type", &other, "a list of c2p and p2c is")),
    };
    let mut terms = [false; 2];
    for kind in kinds.iter().filter(|kind| !kind.is_empty()) {
        match kind.as_str() {
            "c2p" => terms[0] = true,
            "p2c" => terms[1] = true,
            other => return Err(source.keys.refused("pos_att_type", &Value::from(other), "c2p and p2c are")),
        }
    }
    let norm = source.take::<String>("norm_rel_ebd")?.unwrap_or_default();
    let norm = match norm.to_lowercase().as_str() {
        "" | "none" => None,
        "layer_norm" => Some(source.layer_norm("encoder.LayerNorm", eps)),
        other => return Err(source.keys.refused("norm_rel_ebd", &Value::from(other), "layer_norm is")),
    };
    let shared = source.take::<bool>("share_att_key")?.unwrap_or(false);
    if source.take::<bool>("relative_attention")? != Some(true) && terms != [false, false] {
        return Err(LoadError::unsupported(
            source.keys.path(),
            "pos_att_type is set without relative_attention true, which is not served",
        ));
    }
    // The scale of far distances is the logarithm of the furthest over the middle.
    let bounded = buckets.is_none_or(|count| count > 1 && furthest > count / 2 + 1) && furthest <= MOST_DISTANCE;
    if !bounded {
        let why =
            format!("max_relative_positions {furthest} does not go with position_buckets {}", buckets.unwrap_or(0));
        return Err(LoadError::invalid(source.keys.path(), why));
    }
    if !source.has("encoder.rel_embeddings.weight") {
        if terms == [false, false] {
            return Ok(None);
        }
        return Err(LoadError::unsupported(
            source.keys.path(),
            "pos_att_type is set, but encoder.rel_embeddings.weight is missing: relative_attention false is not served",
        ));
    }
    let relative = Relative {
        table: source.tensor("encoder.rel_embeddings.weight"),
        norm,
        span: buckets.unwrap_or(furthest),
        buckets: buckets.map(|count| (count, furthest)),
        terms,
        shared,
    };
    Ok((terms != [false, false]).then_some(relative))
}

fn heads(source: &mut FamilySource<'_>, hidden: usize, act: Pointwise, eps: f32) -> Result<Heads, LoadError> {
    let width = source.size_if_there(&["pooler_hidden_size"])?.unwrap_or(hidden);
    let pooled = source.act("pooler_hidden_act", Pointwise::Gelu)?;
    let legacy = source.weights.has("cls.predictions.transform.dense.weight");
    let vocabulary = if legacy {
        ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions")
    } else {
        ("lm_predictions.lm_head.dense", "lm_predictions.lm_head.LayerNorm", "lm_predictions.lm_head")
    };
    let (dense, norm, rest) = vocabulary;
    Ok(Heads {
        sequence: Some(SequenceHead {
            reads: Reads::First,
            classifier: Classifier {
                steps: vec![HeadStep::Linear(product("pooler.dense", width, width, true)), HeadStep::Act(pooled)],
                out: "classifier".to_owned(),
                has_bias: true,
            },
        }),
        tokens: Some(Classifier { steps: Vec::new(), out: "classifier".to_owned(), has_bias: true }),
        causal: None,
        vocabulary: Some(VocabularyHead {
            transform: Some(Transform {
                dense: product(dense, hidden, hidden, true),
                act,
                norm: layer_norm(source.weights, norm, eps),
            }),
            decoder: format!("{rest}.decoder.weight"),
            biases: vec![format!("{rest}.bias"), format!("{rest}.decoder.bias")],
        }),
    })
}
