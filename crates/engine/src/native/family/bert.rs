//! BERT; RoBERTa, XLM-RoBERTa and CamemBERT, whose positions start past the pad id; ELECTRA, whose embeddings may be narrower.
//! Tensors as transformers stores them, with the family's prefix inside a head. Source: transformers' modeling files.

use super::{
    Attention, Classifier, Embedding, Encoder, Family, FamilySource, FeedForward, HeadStep, Layer, Norms, Pointwise,
    Reads, SequenceHead, Sight, Transform, VocabularyHead, always,
    encoder::{Positions, Segments},
    heads::Heads,
    plain_scale,
    source::{layer_norm, product},
};
use crate::error::LoadError;

pub(super) const BERT: Family =
    Family { model_types: &["bert"], is: always, describe: |source| describe(source, Kind::Bert), experimental: false };
pub(super) const ROBERTA: Family = Family {
    model_types: &["roberta", "xlm-roberta", "camembert"],
    is: always,
    describe: |source| describe(source, Kind::Roberta),
    experimental: false,
};
pub(super) const ELECTRA: Family = Family {
    model_types: &["electra"],
    is: always,
    describe: |source| describe(source, Kind::Electra),
    experimental: false,
};

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Bert,
    Roberta,
    Electra,
}

/// Most rows of the table that positions and segments become at load. Models have two segments or one, and up to 8,192
/// positions.
const MOST_PLACES: usize = 131_072;

/// Where a file says nothing.
const EPS: f32 = 1e-12;

fn describe(source: &mut FamilySource<'_>, kind: Kind) -> Result<Encoder, LoadError> {
    let prefix = match kind {
        Kind::Bert => "bert.",
        Kind::Roberta => "roberta.",
        Kind::Electra => "electra.",
    };
    source.set_prefix(&[prefix], "embeddings.word_embeddings.weight");
    let hidden = source.size(&["hidden_size"])?;
    let heads = source.size(&["num_attention_heads"])?;
    let size = source.head_size(hidden, heads)?;
    if let Some(other) = source.take::<String>("position_embedding_type")?.filter(|kind| kind != "absolute") {
        return Err(source.not_native("position_embedding_type", &other));
    }
    let positions = positions(source, kind)?;
    let segments = segments(source, positions.rows)?;
    let eps = source.eps(&["layer_norm_eps"], EPS)?;
    let act = source.act("hidden_act", Pointwise::Gelu)?;
    let narrow = match kind {
        Kind::Electra => source.size_if_there(&["embedding_size"])?.unwrap_or(hidden),
        _ => hidden,
    };
    let projects = narrow != hidden || source.has("embeddings_project.weight");
    let (layers, inner) = (source.layers(&["num_hidden_layers"])?, source.size(&["intermediate_size"])?);
    let layer = |i: usize| {
        let name = |part: &str| format!("encoder.layer.{i}.{part}");
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
                distances: None,
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
    let layers = (0..layers).map(layer).collect();
    Ok(Encoder {
        hidden,
        vocab: source.size(&["vocab_size"])?,
        longest: positions.rows - positions.first,
        embedding: Embedding {
            words: source.tensor("embeddings.word_embeddings.weight"),
            width: narrow,
            scale: None,
            positions: Some(positions),
            segments: Some(segments),
            norm: Some(source.layer_norm("embeddings.LayerNorm", eps)),
            projection: projects.then(|| source.biased("embeddings_project", narrow, hidden)),
        },
        layers,
        last_norm: None,
        heads: self::heads(source, kind, hidden, narrow, act, eps),
        unseen: false,
    })
}

fn positions(source: &mut FamilySource<'_>, kind: Kind) -> Result<Positions, LoadError> {
    let rows = source.size(&["max_position_embeddings"])?;
    let (mut first, mut pad) = (0, None);
    if kind == Kind::Roberta {
        let id = source.config.pad_token_id.unwrap_or(1);
        let path = source.keys.path();
        first = usize::try_from(id).map_err(|_| LoadError::invalid(path, format!("pad_token_id is {id}")))? + 1;
        pad = u32::try_from(id).ok();
    }
    if first >= rows {
        return Err(LoadError::invalid(
            source.keys.path(),
            format!("max_position_embeddings {rows} leaves no room past pad_token_id"),
        ));
    }
    Ok(Positions { name: source.tensor("embeddings.position_embeddings.weight"), rows, first, pad })
}

fn segments(source: &mut FamilySource<'_>, positions: usize) -> Result<Segments, LoadError> {
    let rows = source.size_if_there(&["type_vocab_size"])?.unwrap_or(2);
    if rows > 1 && positions.saturating_mul(rows) > MOST_PLACES {
        return Err(LoadError::unsupported(
            source.keys.path(),
            format!(
                "max_position_embeddings {positions} times type_vocab_size {rows} is more than {MOST_PLACES}, \
                 the most that is served natively; an ONNX export of the model will be"
            ),
        ));
    }
    Ok(Segments { name: source.tensor("embeddings.token_type_embeddings.weight"), rows })
}

fn heads(source: &FamilySource<'_>, kind: Kind, hidden: usize, narrow: usize, act: Pointwise, eps: f32) -> Heads {
    let pooler = source.tensor("pooler.dense");
    let (dense, act_of_pooled, out) = match kind {
        Kind::Bert => (pooler.as_str(), Pointwise::Tanh, "classifier"),
        Kind::Roberta => ("classifier.dense", Pointwise::Tanh, "classifier.out_proj"),
        Kind::Electra => ("classifier.dense", Pointwise::Gelu, "classifier.out_proj"),
    };
    let (transform, norm, decoder, biases) = match kind {
        Kind::Bert => (
            "cls.predictions.transform.dense",
            "cls.predictions.transform.LayerNorm",
            "cls.predictions.decoder.weight",
            ["cls.predictions.bias", "cls.predictions.decoder.bias"],
        ),
        Kind::Roberta => {
            ("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder.weight", ["lm_head.bias", "lm_head.decoder.bias"])
        }
        Kind::Electra => (
            "generator_predictions.dense",
            "generator_predictions.LayerNorm",
            "generator_lm_head.weight",
            ["generator_lm_head.bias", "generator_lm_head.bias"],
        ),
    };
    Heads {
        sequence: Some(SequenceHead {
            reads: Reads::First,
            classifier: Classifier {
                steps: vec![HeadStep::Linear(product(dense, hidden, hidden, true)), HeadStep::Act(act_of_pooled)],
                out: out.to_owned(),
                has_bias: true,
            },
        }),
        tokens: Some(Classifier { steps: Vec::new(), out: "classifier".to_owned(), has_bias: true }),
        causal: None,
        vocabulary: Some(VocabularyHead {
            transform: Some(Transform {
                dense: product(transform, hidden, narrow, true),
                // RoBERTa's and ELECTRA's transforms are GELU whatever the layers use.
                act: if kind == Kind::Bert { act } else { Pointwise::Gelu },
                norm: layer_norm(source.weights, norm, eps),
            }),
            decoder: decoder.to_owned(),
            biases: biases.map(str::to_owned).to_vec(),
        }),
    }
}
