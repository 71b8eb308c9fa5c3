//! What sits on top of an encoder, by task and family.
//!
//! | task | output | rows |
//! | --- | --- | --- |
//! | sequence classification | `output`: logits | one a sequence |
//! | token classification | `output`: logits | one a token |
//! | states, for vectors or a cross-encoder of modules | `output`: states | one a token; pooled on the host |
//! | … on a GPU, besides | `picked`: one row of each sequence that the host names | one a sequence |
//! | … where mean or largest is the model's own | `pooled` | one a sequence |
//! | sparse embedding | `output`: logits | one a sequence: the largest of its tokens' |
//! | … by a sum | `output`: weights | one a sequence: the sum over its tokens |
//!
//! What a run does not ask for is not copied back. Past the encoder all is f32, but
//! for the product with the vocabulary, which is most of a sparse model's work.

use super::{
    super::{
        family::{Encoder, Family, Pointwise},
        kernel::{SEGMENT_MAX, SEGMENT_SUM, TWICE},
    },
    encoder::{WORDS, Wanted, linear, norm, pointwise},
    names::{OUTPUT, PICKED, POOLED, input},
    pooling,
};
use crate::{
    error::LoadError,
    folder::weights::Weights,
    onnx::{Attr, Builder, Elem, ONNX, SORTIE, Size},
    post::SparseTransform,
    task::Pooling,
};

/// What sits on top of an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// So many logits a sequence.
    Sequence(usize),
    /// So many logits a token.
    Tokens(usize),
    /// Nothing: the states themselves.
    States,
    /// A masked-LM head: the largest logits of each sequence, or the sum of its transformed logits.
    Vocabulary {
        /// What is summed; `None` takes the largest.
        sum: Option<SparseTransform>,
    },
}

impl Head {
    /// Whether an output row is one token's.
    pub(crate) fn is_per_token(self) -> bool {
        matches!(self, Head::Tokens(_) | Head::States)
    }
}

/// Which rows of the last hidden states a head reads.
pub(crate) fn wanted(head: Head) -> Wanted {
    match head {
        Head::Sequence(_) => Wanted::First,
        _ => Wanted::All,
    }
}

/// Writes the head over the hidden states `x`, of the rows that are [`wanted`], and declares the graph's outputs.
/// `pooling` is the one that the model's vectors have by themselves, where it is a single one. Returns the width of an output row.
pub(crate) fn head(
    b: &mut Builder,
    e: &Encoder,
    w: &Weights,
    head: Head,
    pooling: Option<Pooling>,
    x: &str,
) -> Result<usize, LoadError> {
    let width = match head {
        Head::Sequence(labels) => sequence(b, e, w, labels, x)?,
        Head::Tokens(labels) => {
            let x = b.go_on_in(Elem::F32, "head/states", x);
            linear(b, w, OUTPUT, "classifier", e.hidden, labels, &x)?;
            labels
        }
        Head::States => {
            embedding(b, e, pooling, x);
            e.hidden
        }
        Head::Vocabulary { sum } => sparse(b, e, w, sum, x)?,
    };
    let rows = if head.is_per_token() { "tokens" } else { "sequences" };
    b.output(OUTPUT, Elem::F32, &[Size::Named(rows), Size::Of(width)]);
    Ok(width)
}

/// The states, and on a GPU one row a sequence.
fn embedding(b: &mut Builder, e: &Encoder, pooling: Option<Pooling>, x: &str) {
    if b.target().is_cpu() || b.elem() == Elem::F32 {
        b.node(ONNX, "Identity", OUTPUT, &[x], &[]);
    } else {
        b.go_on_in(Elem::F32, OUTPUT, x);
    }
    if b.target().is_cpu() {
        return;
    }
    let rows = [Size::Named("sequences"), Size::Of(e.hidden)];
    let row = b.input(input::PICKED_ROW, Elem::I32, &[Size::Named("sequences")]);
    b.node(ONNX, "Gather", PICKED, &[OUTPUT, &row], &[]);
    match pooling {
        Some(Pooling::Mean) => {
            pooling::mean(b, POOLED, OUTPUT);
        }
        Some(Pooling::Max) => {
            pooling::largest(b, POOLED, OUTPUT, e.longest());
        }
        _ => {
            b.output(PICKED, Elem::F32, &rows);
            return;
        }
    }
    b.output(PICKED, Elem::F32, &rows);
    b.output(POOLED, Elem::F32, &rows);
}

fn sequence(b: &mut Builder, e: &Encoder, w: &Weights, labels: usize, x: &str) -> Result<usize, LoadError> {
    let cls = b.go_on_in(Elem::F32, "head/first_f32", x);
    let h = e.hidden;
    let pooler = e.tensor("pooler.dense");
    let (dense, act, out) = match e.family {
        Family::Bert => (pooler.as_str(), Pointwise::Tanh, "classifier"),
        Family::Roberta => ("classifier.dense", Pointwise::Tanh, "classifier.out_proj"),
        Family::DistilBert => ("pre_classifier", Pointwise::Relu, "classifier"),
        Family::Electra => ("classifier.dense", Pointwise::Gelu, "classifier.out_proj"),
    };
    let d = linear(b, w, "head/dense", dense, h, h, &cls)?;
    let d = pointwise(b, "head/activated", act, &d);
    linear(b, w, OUTPUT, out, h, labels, &d)?;
    Ok(labels)
}

/// A masked-LM head: transform, then the word embeddings turned round.
fn sparse(
    b: &mut Builder,
    e: &Encoder,
    w: &Weights,
    sum: Option<SparseTransform>,
    x: &str,
) -> Result<usize, LoadError> {
    let (dense, norm_name, decoder, bias) = match e.family {
        Family::Bert => (
            "cls.predictions.transform.dense",
            "cls.predictions.transform.LayerNorm",
            "cls.predictions.decoder.weight",
            "cls.predictions.bias",
        ),
        Family::Roberta => ("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder.weight", "lm_head.bias"),
        Family::DistilBert => ("vocab_transform", "vocab_layer_norm", "vocab_projector.weight", "vocab_projector.bias"),
        Family::Electra => (
            "generator_predictions.dense",
            "generator_predictions.LayerNorm",
            "generator_lm_head.weight",
            "generator_lm_head.bias",
        ),
    };
    // RoBERTa's and ELECTRA's transforms are GELU whatever the layers use.
    let act = match e.family {
        Family::Roberta | Family::Electra => Pointwise::Gelu,
        Family::Bert | Family::DistilBert => e.act,
    };
    let t = linear(b, w, "head/transform", dense, e.hidden, e.narrow, x)?;
    let t = pointwise(b, "head/activated", act, &t);
    let (gamma, beta) = norm(b, w, norm_name, e.narrow)?;
    let t = b.node(ONNX, "LayerNormalization", "head/normed", &[&t, &gamma, &beta], &[Attr::Float("epsilon", e.eps)]);
    // An untied decoder is stored; a tied one is the word table.
    let table = if w.has(decoder) {
        let m = w.get(decoder, &[e.vocab, e.narrow])?;
        b.weight(decoder, &[e.vocab, e.narrow], m.data)
    } else {
        WORDS.to_owned()
    };
    let bias_name = if w.has(bias) { bias.to_owned() } else { decoder.replace(".weight", ".bias") };
    let bias = w.get(&bias_name, &[e.vocab])?;
    if b.target().is_cpu() {
        let bias = b.weight(bias_name, &[e.vocab], bias.data);
        let logits = b.node(ONNX, "Gemm", "head/logits", &[&t, &table, &bias], &[Attr::Int("transB", 1)]);
        match sum {
            None => b.node(SORTIE, SEGMENT_MAX, OUTPUT, &[&logits, input::CUMULATIVE], &[]),
            Some(transform) => {
                let twice = Attr::Int(TWICE, i64::from(transform == SparseTransform::LogLog));
                b.node(SORTIE, SEGMENT_SUM, OUTPUT, &[&logits, input::CUMULATIVE], &[twice])
            }
        };
        return Ok(e.vocab);
    }
    let t = pooling::chunked(b, "head/chunked", &t);
    let logits = b.node(ONNX, "Gemm", "head/logits", &[&t, &table], &[Attr::Int("transB", 1)]);
    let most = pooling::largest_of_chunks(b, "head/chunk", &logits);
    let most = pooling::largest(b, "head/largest", &most, pooling::chunks(e.longest()));
    // The bias is one for all tokens of a column: it may as well come after the maximum, in f32.
    let most = b.go_on_in(Elem::F32, "head/largest_f32", &most);
    let bias = b.weight(bias_name, &[e.vocab], bias.data);
    b.node(ONNX, "Add", OUTPUT, &[&most, &bias], &[]);
    Ok(e.vocab)
}
