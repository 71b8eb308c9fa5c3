//! GLiNER: spans scored against labels that stand before the text, each behind a token of its own. Source: the package's
//! `modeling/base.py`, `span_rep.py`, `scorers.py` and `layers.py`.

use super::{
    Encoder, Linear, Tagger,
    source::product,
    tagger::{BothWays, Lstm, TagScorer, TwoProducts},
};
use crate::folder::{ScoredParts, TaggerFolder};

/// How much wider the inner state of its two products is than what they give.
const INNER: usize = 4;

/// Tokens of a word that there is room for, labels counted, where an encoder's positions end nowhere: the package then reads
/// whatever `max_len` words have. Words of European languages have 1.3 on the average.
const TOKENS_A_WORD: usize = 4;

/// What stands on the encoder `e`, whose longest text may grow by it.
pub(super) fn on(folder: &TaggerFolder, e: &mut Encoder) -> Tagger {
    if e.ends_nowhere() {
        e.longest = e.longest.max(TOKENS_A_WORD * folder.most_words);
    }
    let width = folder.hidden;
    let scorer = match folder.scored {
        ScoredParts::Spans { width: longest } => {
            let part = |name: &str, from| two(&format!("span_rep_layer.span_rep_layer.{name}"), from, width);
            TagScorer::Spans {
                longest,
                first: part("project_start", width),
                last: part("project_end", width),
                joined: part("out_project", 2 * width),
                label: two("prompt_rep_layer", width, width),
            }
        }
        ScoredParts::Words => TagScorer::Words {
            word: product("scorer.proj_token", width, 2 * width, true),
            label: product("scorer.proj_label", width, 2 * width, true),
            joined: TwoProducts {
                up: product("scorer.out_mlp.0", 3 * width, INNER * width, true),
                down: product("scorer.out_mlp.3", INNER * width, 3, true),
            },
        },
    };
    Tagger {
        width,
        projection: (e.hidden != width).then(|| product("token_rep_layer.projection", e.hidden, width, true)),
        recurrent: (0..folder.recurrent_layers).map(|i| both_ways(i, width)).collect(),
        scorer,
    }
}

/// Two products with ReLU between; what PyTorch numbers 1 and 2 is ReLU and dropout.
fn two(name: &str, from: usize, to: usize) -> TwoProducts {
    TwoProducts {
        up: product(&format!("{name}.0"), from, INNER * to, true),
        down: product(&format!("{name}.3"), INNER * to, to, true),
    }
}

fn both_ways(layer: usize, width: usize) -> BothWays {
    let size = width / 2;
    let lstm = |way: &str| {
        let part = |kind: &str, from: usize| -> Linear {
            let mut made = product("", from, INNER * size, true);
            made.weight.name = format!("rnn.lstm.weight_{kind}_l{layer}{way}");
            if let Some(bias) = &mut made.bias {
                bias.name = format!("rnn.lstm.bias_{kind}_l{layer}{way}");
            }
            made
        };
        Lstm { read: part("ih", width), before: part("hh", size), size }
    };
    BothWays { forward: lstm(""), backward: lstm("_reverse") }
}
