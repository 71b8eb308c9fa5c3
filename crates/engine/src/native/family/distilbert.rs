//! DistilBERT: BERT without segments and pooler, under names of its own. Source: transformers' modeling file.

use super::{
    Attention, Classifier, Embedding, Encoder, Family, FamilySource, FeedForward, HeadStep, Layer, Norms, Pointwise,
    Reads, SequenceHead, Sight, Transform, VocabularyHead, always,
    encoder::Positions,
    heads::Heads,
    plain_scale,
    source::{layer_norm, product},
};
use crate::error::LoadError;

pub(super) const FAMILY: Family = Family { model_types: &["distilbert"], is: always, describe, experimental: false };

/// Fixed in the family's code.
const EPS: f32 = 1e-12;

fn describe(source: &mut FamilySource<'_>) -> Result<Encoder, LoadError> {
    source.set_prefix(&["distilbert."], "embeddings.word_embeddings.weight");
    let hidden = source.size(&["dim", "hidden_size"])?;
    let heads = source.size(&["n_heads", "num_attention_heads"])?;
    let size = source.head_size(hidden, heads)?;
    let rows = source.size(&["max_position_embeddings"])?;
    if let Some(other) = source.take::<String>("position_embedding_type")?.filter(|kind| kind != "absolute") {
        return Err(source.not_native("position_embedding_type", &other));
    }
    source.without_effect(&["sinusoidal_pos_embds", "dropout", "qa_dropout", "seq_classif_dropout", "tie_weights_"]);
    let act_key = if source.keys.has("activation") { "activation" } else { "hidden_act" };
    let act = source.act(act_key, Pointwise::Gelu)?;
    let layers = source.layers(&["n_layers", "num_hidden_layers"])?;
    let inner = source.size(&["hidden_dim", "intermediate_size"])?;
    let layer = |i: usize| {
        let name = |part: &str| format!("transformer.layer.{i}.{part}");
        Layer {
            attention: Attention {
                heads,
                kv_heads: heads,
                size,
                scale: plain_scale(size),
                query: source.biased(&name("attention.q_lin"), hidden, hidden),
                key: source.biased(&name("attention.k_lin"), hidden, hidden),
                value: source.biased(&name("attention.v_lin"), hidden, hidden),
                out: source.biased(&name("attention.out_lin"), hidden, hidden),
                query_key_norm: None,
                rope: None,
                sight: Sight::All,
                distances: None,
            },
            feed_forward: FeedForward::Plain {
                up: source.biased(&name("ffn.lin1"), hidden, inner),
                act,
                down: source.biased(&name("ffn.lin2"), inner, hidden),
            },
            norms: Norms::Post {
                attention: source.layer_norm(&name("sa_layer_norm"), EPS),
                feed_forward: source.layer_norm(&name("output_layer_norm"), EPS),
            },
        }
    };
    let layers = (0..layers).map(layer).collect();
    Ok(Encoder {
        hidden,
        vocab: source.size(&["vocab_size"])?,
        longest: rows,
        embedding: Embedding {
            words: source.tensor("embeddings.word_embeddings.weight"),
            width: hidden,
            scale: None,
            positions: Some(Positions {
                name: source.tensor("embeddings.position_embeddings.weight"),
                rows,
                first: 0,
                pad: None,
            }),
            segments: None,
            norm: Some(source.layer_norm("embeddings.LayerNorm", EPS)),
            projection: None,
        },
        layers,
        last_norm: None,
        heads: Heads {
            sequence: Some(SequenceHead {
                reads: Reads::First,
                classifier: Classifier {
                    steps: vec![
                        HeadStep::Linear(product("pre_classifier", hidden, hidden, true)),
                        HeadStep::Act(Pointwise::Relu),
                    ],
                    out: "classifier".to_owned(),
                    has_bias: true,
                },
            }),
            tokens: Some(Classifier { steps: Vec::new(), out: "classifier".to_owned(), has_bias: true }),
            causal: None,
            vocabulary: Some(VocabularyHead {
                transform: Some(Transform {
                    dense: product("vocab_transform", hidden, hidden, true),
                    act,
                    norm: layer_norm(source.weights, "vocab_layer_norm", EPS),
                }),
                decoder: "vocab_projector.weight".to_owned(),
                biases: vec!["vocab_projector.bias".to_owned()],
            }),
        },
        unseen: false,
    })
}
