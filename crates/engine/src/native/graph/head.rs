//! What sits on top of an encoder, by task and family.
//!
//! | task | output | rows |
//! | --- | --- | --- |
//! | sequence classification | `output`: logits | one a sequence |
//! | pairs by a causal language model | `output`: one logit, or the distance of two | one a sequence |
//! | token classification | `output`: logits | one a token |
//! | states, for vectors or a cross-encoder of modules | `output`: states | one a token; pooled on the host |
//! | … on a GPU, besides | `picked`: one row of each sequence that the host names | one a sequence |
//! | … where mean or largest is the model's own | `pooled` | one a sequence |
//! | sparse embedding | `output`: logits | one a sequence: the largest of its tokens' |
//! | … by a sum | `output`: weights | one a sequence: the sum over its tokens |
//! | labels of the request | `output`: logits | one a stretch and label, or word and label; text after text |
//!
//! What a run does not ask for is not copied back. Past the encoder all is f32, but
//! for the product with the vocabulary, which is most of a sparse model's work.

use super::{
    super::{
        family::{Classifier, Encoder, HeadStep, Reads, Tagger, Transform, VocabularyHead},
        kernel::{SEGMENT_MAX, SEGMENT_MEAN, SEGMENT_SUM, TWICE},
    },
    encoder::{WORDS, Wanted},
    names::{OUTPUT, PICKED, POOLED, input},
    on_cuda,
    parts::{activated, linear, normed},
    pooling, tagger,
};
use crate::{
    error::LoadError,
    folder::{LogitScore, weights::Weights},
    onnx::{Attr, Builder, Edge, Elem, ONNX, SORTIE, Size},
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
    /// One number a sequence, of the logits behind its last token.
    Logit(LogitScore),
    /// Scores against labels that come with each text: of its stretches of up to so many words, or of its words.
    Spans {
        /// Words in the longest stretch.
        width: Option<usize>,
    },
}

impl Head {
    /// Whether an output row is one token's.
    pub(crate) fn is_per_token(self) -> bool {
        matches!(self, Head::Tokens(_) | Head::States)
    }
}

/// Which rows of the last hidden states a head reads.
pub(crate) fn wanted(e: &Encoder, head: Head) -> Wanted {
    if matches!(head, Head::Logit(_)) {
        return Wanted::Last;
    }
    match (head, e.heads.sequence.as_ref().map(|head| head.reads)) {
        (Head::Sequence(_), Some(Reads::First)) => Wanted::First,
        (Head::Sequence(_), Some(Reads::Last { .. })) => Wanted::Last,
        _ => Wanted::All,
    }
}

/// Writes the head over the hidden states `x`, of the rows that are [`wanted`], and declares the graph's outputs.
/// `pooling` is the one that the model's vectors have by themselves, where it is a single one. Returns the width of an output row.
pub(crate) fn head(
    b: &mut Builder,
    e: &Encoder,
    w: &Weights,
    (head, on): (Head, Option<&Tagger>),
    pooling: Option<Pooling>,
    x: &str,
) -> Result<usize, LoadError> {
    let none = |what: &str| LoadError::Runtime(format!("{what} is not served for this family"));
    let width = match head {
        Head::Sequence(labels) => sequence(b, e, w, labels, x)?,
        Head::Tokens(labels) => {
            let head = e.heads.tokens.as_ref().ok_or_else(|| none("a classifier of tokens"))?;
            let x = b.go_on_in(Elem::F32, "head/states", x);
            classifier(b, w, head, (e.hidden, labels), OUTPUT, x)?;
            labels
        }
        Head::States => {
            embedding(b, e, pooling, x);
            e.hidden
        }
        Head::Vocabulary { sum } => {
            let head = e.heads.vocabulary.as_ref().ok_or_else(|| none("a masked-LM head"))?;
            sparse(b, e, w, head, sum, x)?
        }
        Head::Logit(score) => {
            logit(b, e, w, score, x)?;
            1
        }
        Head::Spans { .. } => {
            tagger::tagger(b, on.ok_or_else(|| none("tagging by labels of the request"))?, e, w, x)?;
            return Ok(1);
        }
    };
    let rows = if head.is_per_token() { "tokens" } else { "sequences" };
    b.output(OUTPUT, Elem::F32, &[Size::Named(rows), Size::Of(width)]);
    Ok(width)
}

/// The logit of one token, or its distance to another's: a product with one vector, the only rows of the head that count.
fn logit(b: &mut Builder, e: &Encoder, w: &Weights, score: LogitScore, x: &str) -> Result<(), LoadError> {
    let none = || LoadError::Runtime("the logits of a causal language model are not served for this family".into());
    let table = e.heads.causal.as_ref().ok_or_else(none)?;
    let row = |id: u32| w.get_rows(table, [e.vocab, e.hidden], id as usize..id as usize + 1);
    let mut weight = row(score.true_token)?;
    if let Some(id) = score.false_token {
        weight.iter_mut().zip(row(id)?).for_each(|(x, off)| *x -= off);
    }
    let x = b.go_on_in(Elem::F32, "head/last_f32", x);
    let weight = b.weight("head/logit_weight", &[e.hidden, 1], weight);
    match b.own().kernels {
        true => on_cuda::product(b, OUTPUT, &x, &weight, ""),
        false => b.node(ONNX, "MatMul", OUTPUT, &[&x, &weight], &[]),
    };
    Ok(())
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
            mean(b, POOLED, OUTPUT);
        }
        Some(Pooling::Max) if b.own().kernels => {
            b.node(SORTIE, SEGMENT_MAX, POOLED, &[OUTPUT, input::CUMULATIVE], &[]);
        }
        Some(Pooling::Max) => {
            pooling::largest(b, POOLED, OUTPUT, e.longest);
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
    let none = || LoadError::Runtime("a classifier of sequences is not served for this family".into());
    let head = e.heads.sequence.as_ref().ok_or_else(none)?;
    let x = b.go_on_in(Elem::F32, "head/first_f32", x);
    let widths = (e.hidden, labels);
    match head.reads {
        Reads::First | Reads::Last { .. } => classifier(b, w, &head.classifier, widths, OUTPUT, x)?,
        Reads::Mean => {
            let mean = mean(b, "head/mean", &x);
            classifier(b, w, &head.classifier, widths, OUTPUT, mean)?
        }
        Reads::EachLogit => {
            let logits = classifier(b, w, &head.classifier, widths, "head/logits", x)?;
            mean(b, OUTPUT, &logits)
        }
    };
    Ok(labels)
}

/// Mean of each sequence's rows.
fn mean(b: &mut Builder, edge: &str, x: &str) -> Edge {
    if b.target().is_cpu() || b.own().kernels {
        return b.node(SORTIE, SEGMENT_MEAN, edge, &[x, input::CUMULATIVE], &[]);
    }
    pooling::mean(b, edge, x)
}

/// The steps of a classifier, then its logits.
fn classifier(
    b: &mut Builder,
    w: &Weights,
    head: &Classifier,
    (mut width, labels): (usize, usize),
    edge: &str,
    mut x: Edge,
) -> Result<Edge, LoadError> {
    for step in &head.steps {
        x = match step {
            HeadStep::Linear(product) => {
                width = product.to();
                linear(b, w, "head/dense", product, &x)?
            }
            HeadStep::Act(act) => activated(b, "head/activated", *act, &x),
            HeadStep::Norm(norm) => normed(b, w, "head/normed", norm, width, &x)?,
        };
    }
    linear(b, w, edge, &head.last(width, labels), &x)
}

/// The sum of each sequence's transformed logits.
fn summed(b: &mut Builder, transform: SparseTransform, logits: &str) -> Edge {
    let twice = Attr::Int(TWICE, i64::from(transform == SparseTransform::LogLog));
    b.node(SORTIE, SEGMENT_SUM, OUTPUT, &[logits, input::CUMULATIVE], &[twice])
}

/// A masked-LM head: transform, then the word embeddings turned round.
fn sparse(
    b: &mut Builder,
    e: &Encoder,
    w: &Weights,
    head: &VocabularyHead,
    sum: Option<SparseTransform>,
    x: &str,
) -> Result<usize, LoadError> {
    let (width, t) = match &head.transform {
        None => (e.hidden, x.to_owned()),
        Some(Transform { dense, act, norm }) => {
            let width = dense.to();
            let t = linear(b, w, "head/transform", dense, x)?;
            let t = activated(b, "head/activated", *act, &t);
            (width, normed(b, w, "head/normed", norm, width, &t)?)
        }
    };
    // An untied decoder is stored; a tied one is the word table.
    let decoder = &head.decoder;
    let table = if w.has(decoder) {
        let m = w.get(decoder, &[e.vocab, width])?;
        b.weight(decoder, &[e.vocab, width], m.data)
    } else {
        WORDS.to_owned()
    };
    let stored = head.biases.iter().find(|name| w.has(name)).or(head.biases.last());
    let (bias_name, bias) = match stored {
        Some(name) => (name.clone(), w.get(name, &[e.vocab])?.data),
        None => ("head/no_bias".to_owned(), vec![0.0; e.vocab]),
    };
    if b.target().is_cpu() {
        let bias = b.weight(bias_name, &[e.vocab], bias);
        let logits = b.node(ONNX, "Gemm", "head/logits", &[&t, &table, &bias], &[Attr::Int("transB", 1)]);
        match sum {
            None => b.node(SORTIE, SEGMENT_MAX, OUTPUT, &[&logits, input::CUMULATIVE], &[]),
            Some(transform) => summed(b, transform, &logits),
        };
        return Ok(e.vocab);
    }
    if let Some(transform) = sum {
        let bias = b.weight_in(Elem::F32, bias_name, &[e.vocab], bias);
        let logits = on_cuda::wide_product_turned(b, "head/logits", &t, &table, &bias);
        summed(b, transform, &logits);
        return Ok(e.vocab);
    }
    let t = pooling::chunked(b, "head/chunked", &t);
    let logits = match b.own().kernels {
        true => on_cuda::product_turned(b, "head/logits", &t, &table),
        false => b.node(ONNX, "Gemm", "head/logits", &[&t, &table], &[Attr::Int("transB", 1)]),
    };
    let most = pooling::largest_of_chunks(b, "head/chunk", &logits);
    let most = pooling::largest(b, "head/largest", &most, pooling::chunks(e.longest));
    // The bias is one for all tokens of a column: it may as well come after the maximum, in f32.
    let most = b.go_on_in(Elem::F32, "head/largest_f32", &most);
    let bias = b.weight(bias_name, &[e.vocab], bias);
    b.node(ONNX, "Add", OUTPUT, &[&most, &bias], &[]);
    Ok(e.vocab)
}
