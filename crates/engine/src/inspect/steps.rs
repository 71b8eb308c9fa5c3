//! What is done to a text's numbers, in words.

use crate::{
    folder::{LogitScore, Route, RouteInput},
    open::{Opened, ServedBy},
    post::{Dense, DenseActivation, Residual, SparseRule, SparseTransform, Step},
    task::{Pooling, Role, Task},
};

/// The steps of a route, from what its input gives to what is answered.
pub(super) fn of(opened: &Opened, route: &Route) -> Vec<String> {
    let mut steps = Vec::new();
    let chain = &route.chain.steps;
    let (graph, pooled) = match &opened.served_by {
        ServedBy::Generic(m) => (true, !m.gives_tokens()),
        _ => (false, false),
    };
    let folder = &opened.folder;
    match &route.input {
        RouteInput::Static(_) => {
            steps.push("no special tokens".to_owned());
            let left_out = if folder.model2vec { ", unknown ones left out" } else { "" };
            steps.push(format!("mean of the rows of its tokens{left_out}"));
            steps.extend(chain.iter().map(|step| said(opened, route, step)));
        }
        RouteInput::SparseStatic(_) => {
            steps.push("no special tokens".to_owned());
            steps.push("the stored weight of each distinct token".to_owned());
        }
        RouteInput::Encoder { .. } => {
            let of_head = || if graph { "in the graph".to_owned() } else { folder.config.architecture().to_owned() };
            let logits = |n: usize| if n == 1 { "1 logit".to_owned() } else { format!("{n} logits") };
            if let Some(chat) = &folder.chat {
                let file = chat.path.file_name().unwrap_or_default().display();
                let tokens = opened.tokenizer.frame_tokens();
                steps.push(format!("a pair in the chat template of {file}, {tokens} tokens beside its texts; a prompt is its system message"));
            }
            if let Some(LogitScore { true_token, false_token }) = route.logit_score {
                let less = false_token.map_or(String::new(), |id| format!(" less that of token {id}"));
                steps.push(format!("LogitScore: the logit of token {true_token}{less}, from the last token"));
            }
            match &opened.task {
                Task::SequenceClassification { .. } if route.logit_score.is_some() => {}
                Task::SequenceClassification { labels, .. } if !route.scores => {
                    let from = if graph { "" } else { ", from its first token" };
                    steps.push(format!("head: {}, {} a text{from}", of_head(), logits(labels.len())));
                }
                Task::TokenClassification { labels } => {
                    steps.push(format!("head: {}, {} a token", of_head(), logits(labels.len())));
                }
                Task::ZeroShotTagging { most_words, width } => {
                    let words = format!("up to {most_words} words behind the labels of the request");
                    steps.push(match width {
                        Some(width) => format!("{words}; a logit a label for each stretch of up to {width}"),
                        None => format!("{words}; three logits a label for each: first, last, within"),
                    });
                }
                Task::SparseEmbedding if pooled => steps.push("weights of the vocabulary, by the graph".to_owned()),
                Task::SparseEmbedding => {
                    steps.push(format!("head: {}, a logit a token for each entry of the vocabulary", of_head()));
                    let usual = if route.sparse.is_none() { " (the library's default)" } else { "" };
                    steps.push(format!("{}{usual}", sparse(&route.sparse.unwrap_or_default())));
                }
                _ if pooled => {
                    steps.push("one vector a text, pooled in the graph".to_owned());
                    steps.extend(route.chain.end().iter().map(|step| said(opened, route, step)));
                }
                _ => steps.extend(chain.iter().map(|step| said(opened, route, step))),
            }
        }
    }
    if let Some(most) = route.sparse.and_then(|rule| rule.most) {
        steps.push(format!("the {most} largest weights"));
    }
    steps
}

fn sparse(rule: &SparseRule) -> String {
    let by = if rule.sum { "sum" } else { "max" };
    let transform = match rule.transform {
        SparseTransform::Log => "ln(1 + relu(x))",
        SparseTransform::LogLog => "ln(1 + ln(1 + relu(x)))",
    };
    format!("{by} over the tokens of {transform}")
}

/// One step in words.
fn said(opened: &Opened, route: &Route, step: &Step) -> String {
    match step {
        Step::Pool(pool) => {
            let modes: Vec<&str> = pool.modes.iter().map(pooling).collect();
            let prompt = if pool.include_prompt { "" } else { ", a prompt left out" };
            format!("pool: {}{prompt}", modes.join(" and "))
        }
        Step::TokenDense(d) => format!("dense on each token: {}", dense(d)),
        Step::Dense(d) => format!("dense: {}", dense(d)),
        Step::LayerNorm(norm) => format!("layer norm of {}", norm.weight.len()),
        Step::NormalizeTokens => "each token to length 1".to_owned(),
        Step::Normalize => "to length 1".to_owned(),
        Step::TokenWeights(_) => "each token times the weight of its word".to_owned(),
        Step::Mask(mask) => masked(opened, route, &mask.roles, mask.kept.len()),
        Step::Cut(most) => format!("the first {most} dimensions"),
    }
}

fn pooling(pooling: &Pooling) -> &'static str {
    match pooling {
        Pooling::Cls => "first token",
        Pooling::Mean => "mean",
        Pooling::Max => "max",
        Pooling::Last => "last token",
        Pooling::MeanSqrtLen => "sum over the root of the length",
        Pooling::WeightedMean => "mean weighted by place",
    }
}

fn dense(dense: &Dense) -> String {
    let activation = match dense.activation {
        DenseActivation::Identity => "",
        DenseActivation::Tanh => ", Tanh",
        DenseActivation::Relu => ", ReLU",
        DenseActivation::Gelu => ", GELU",
        DenseActivation::Silu => ", SiLU",
        DenseActivation::Sigmoid => ", Sigmoid",
        DenseActivation::LeakyRelu => ", LeakyReLU",
        DenseActivation::Elu => ", ELU",
    };
    let residual = match dense.residual {
        Residual::None => "",
        Residual::Input => ", plus its input",
        Residual::Product(_) => ", plus a product of its input",
    };
    format!("{} to {}{activation}{residual}", dense.inputs, dense.outputs)
}

/// Which tokens have no vector: those of the skip list, by text.
fn masked(opened: &Opened, route: &Route, roles: &[Role], kept: usize) -> String {
    let known = |word: &&String| opened.tokenizer.token_id(word).is_some();
    let mut words: Vec<&str> = route.skiplist.iter().filter(known).map(String::as_str).collect();
    let unknown = route.skiplist.len() - words.len();
    let is_pylate = opened.folder.late.as_ref().is_some_and(crate::folder::LateInteraction::is_pylate);
    let stands = if !is_pylate {
        "which are none"
    } else if let Some(token) = opened.unknown_token() {
        if unknown > 0 && !words.contains(&token) {
            words.push(token);
        }
        "which PyLate takes for the unknown token"
    } else {
        "which are none: no unknown token is named"
    };
    let mut out = Vec::new();
    if !words.is_empty() {
        let mut texts: Vec<&str> = roles.iter().map(|role| role.name()).collect();
        if roles.contains(&Role::Document) {
            texts.push("none");
        }
        out.push(format!("no vector in texts of role {}: {}", texts.join(", "), words.join(" ")));
    }
    if unknown > 0 {
        out.push(format!("{unknown} of {} skip words are not in the vocabulary, {stands}", route.skiplist.len()));
    }
    if kept > 0 {
        out.push(format!("in texts of role document, none a vector for {kept} ids alone"));
    }
    if out.is_empty() { "a vector for each token".to_owned() } else { out.join("; ") }
}
