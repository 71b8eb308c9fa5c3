//! EuroBERT: Llama's shape in which every token sees all. Source: transformers' modeling file.

use serde_json::Value;

use super::{
    Classifier, Encoder, Family, FamilySource, HeadStep, Pointwise, Reads, SequenceHead, Sight, VocabularyHead, always,
    heads::Heads, llama::decoder, source::product,
};
use crate::error::LoadError;

pub(super) const FAMILY: Family = Family { model_types: &["eurobert"], is: always, describe, experimental: false };

/// Where a file says nothing.
const THETA: f64 = 10_000.0;
const EPS: f32 = 1e-5;

fn describe(source: &mut FamilySource<'_>) -> Result<Encoder, LoadError> {
    source.without_effect(&["attention_bias", "mlp_bias"]);
    source.only(&[("use_bidirectional_attention", &[Value::Bool(true)]), ("is_causal", &[Value::Bool(false)])])?;
    let older = source.take::<String>("clf_pooling")?;
    let reads = match source.take::<String>("classifier_pooling")?.or(older).as_deref() {
        None | Some("late") => Reads::EachLogit,
        Some("mean") => Reads::Mean,
        Some("bos") => Reads::First,
        Some(other) => {
            return Err(source.keys.refused("classifier_pooling", &Value::from(other), "late, mean and bos are"));
        }
    };
    decoder(source, Sight::All, (THETA, EPS), |source, hidden| {
        let has_bias = source.weights.has("lm_head.bias");
        Ok(Heads {
            sequence: Some(SequenceHead {
                reads,
                classifier: Classifier {
                    steps: vec![
                        HeadStep::Linear(product("dense", hidden, hidden, true)),
                        HeadStep::Act(Pointwise::Gelu),
                    ],
                    out: "classifier".to_owned(),
                    has_bias: true,
                },
            }),
            tokens: Some(Classifier { steps: Vec::new(), out: "classifier".to_owned(), has_bias: true }),
            causal: None,
            vocabulary: Some(VocabularyHead {
                transform: None,
                decoder: "lm_head.weight".to_owned(),
                biases: has_bias.then(|| "lm_head.bias".to_owned()).into_iter().collect(),
            }),
        })
    })
}
