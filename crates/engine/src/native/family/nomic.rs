//! Nomic-BERT: BERT with rotary positions and a gated feed-forward part, under the names of its own code or of transformers 5.
//! v2 has experts in some layers. Sources: transformers' modeling file, the configuration files of the published models.

use serde_json::{Value, json};

use super::{
    Attention, Classifier, Embedding, Encoder, Expert, Experts, Family, FamilySource, FeedForward, HeadStep, Layer,
    Linear, Norm, Norms, Pointwise, Reads, SequenceHead, Sight, Taken, TensorRows, Transform, VocabularyHead, always,
    heads::Heads,
    plain_scale, rope_keys,
    source::{layer_norm, product},
};
use crate::error::LoadError;

pub(super) const FAMILY: Family = Family { model_types: &["nomic_bert"], is: always, describe, experimental: false };

/// With layers of experts: no library computes them.
pub(super) const WITH_EXPERTS: Family =
    Family { model_types: &["nomic_bert"], is: |source| every(source) > 0, describe, experimental: true };

/// θ where a file says nothing: of its own code, and of transformers 5.
const THETA: [f64; 2] = [10_000.0, 1_000.0];

/// Experts of a layer; the published model has 8.
const MOST_EXPERTS: usize = 256;

fn describe(source: &mut FamilySource<'_>) -> Result<Encoder, LoadError> {
    source.set_prefix(&["nomic_bert.", "bert."], "embeddings.word_embeddings.weight");
    refuse(source)?;
    let said_anew = !source.keys.has("n_embd");
    let hidden = source.size(&["n_embd", "hidden_size"])?;
    let heads = source.size(&["n_head", "num_attention_heads"])?;
    let size = source.head_size(hidden, heads)?;
    source.only(&[("head_dim", &[json!(size)])])?;
    let count = source.layers(&["n_layer", "num_hidden_layers"])?;
    let inner = source.size(&["n_inner", "intermediate_size"])?;
    let eps = source.eps(&["layer_norm_epsilon", "layer_norm_eps"], 1e-12)?;
    let positions = source.longest(&["n_positions", "max_position_embeddings"])?;
    // The family's code stretches θ by the padded length of a batch beyond what it was trained on: up to there nothing is.
    let trained = source.size_if_there(&["max_trained_positions"])?;
    let factor = source.take::<f64>("rotary_scaling_factor")?;
    if let Some(factor) = factor.filter(|_| trained.is_none()) {
        let why =
            format!("rotary_scaling_factor {factor} without max_trained_positions is not served: it changes numbers");
        return Err(LoadError::unsupported(source.keys.path(), why));
    }
    let names = Names { new: source.has("layers.0.self_attn.q_proj.weight") };
    let rope = rope_keys::rope(source, None, &["rotary_emb_base", "rope_theta"], THETA[usize::from(said_anew)], size)?;
    source.without_effect(&["rotary_emb_base"]);
    let (act, gated) = activation(source)?;
    let experts = experts(source, gated)?;
    let segments = source.segments()?;
    let layer = |i: usize| {
        let [query, key, value] = names.projections(source, i, hidden);
        let [attention_norm, feed_forward_norm] = names.norms(source, i, eps);
        let at = |old: &str, new: &str| names.of(i, old, new);
        let down = source.linear(&at("mlp.fc2", "mlp.down_proj"), inner, hidden);
        let feed_forward = if let Some(routing) = experts.filter(|routing| routing.is_in(i)) {
            routing.experts(source, &format!("encoder.layers.{i}.mlp"), (hidden, inner), act)
        } else if gated {
            FeedForward::Gated {
                gate: source.linear(&at("mlp.fc12", "mlp.gate_proj"), hidden, inner),
                up: source.linear(&at("mlp.fc11", "mlp.up_proj"), hidden, inner),
                act,
                down,
            }
        } else {
            FeedForward::Plain { up: source.linear(&at("mlp.fc1", "mlp.up_proj"), hidden, inner), act, down }
        };
        Layer {
            attention: Attention {
                heads,
                kv_heads: heads,
                size,
                scale: plain_scale(size),
                query,
                key,
                value,
                out: source.linear(&at("attn.out_proj", "self_attn.o_proj"), hidden, hidden),
                query_key_norm: None,
                rope: Some(rope.clone()),
                sight: Sight::All,
                distances: None,
            },
            feed_forward,
            norms: Norms::Post { attention: attention_norm, feed_forward: feed_forward_norm },
        }
    };
    let layers = (0..count).map(layer).collect();
    Ok(Encoder {
        hidden,
        vocab: vocab(source)?,
        longest: trained.map_or(positions, |trained| trained.min(positions)),
        embedding: Embedding {
            words: source.tensor("embeddings.word_embeddings.weight"),
            width: hidden,
            scale: None,
            positions: None,
            segments,
            norm: Some(source.layer_norm(if names.new { "embeddings.LayerNorm" } else { "emb_ln" }, eps)),
            projection: None,
        },
        layers,
        last_norm: None,
        heads: self::heads(source, hidden, act, eps),
        unseen: false,
    })
}

/// Refuses what the family's code can do and none of its published models does.
fn refuse(source: &mut FamilySource<'_>) -> Result<(), LoadError> {
    source.unset(&[
        "prenorm",
        "causal",
        "use_rms_norm",
        "parallel_block",
        "parallel_block_tied_norm",
        "rotary_emb_interleaved",
    ])?;
    source.only(&[
        ("rotary_emb_fraction", &[json!(1), json!(1.0)]),
        ("rotary_emb_scale_base", &[]),
        ("scale_attn_weights", &[Value::Bool(true)]),
        ("scale_attn_by_inverse_layer_idx", &[Value::Bool(false)]),
        ("position_embedding_type", &[json!("rope"), json!("rotary")]),
    ])?;
    source.without_effect(&[
        "use_flash_attn",
        "fused_bias_fc",
        "fused_dropout_add_ln",
        "qkv_proj_bias",
        "mlp_fc1_bias",
        "mlp_fc2_bias",
        "pad_vocab_size_multiple",
        "use_xentropy",
        "reorder_and_upcast_attn",
        "last_layer_subset",
        "dense_seq_output",
        "attn_pdrop",
        "embd_pdrop",
        "add_pooling_layer",
        "summary_activation",
        "summary_first_dropout",
        "summary_proj_to_labels",
        "summary_type",
        "summary_use_proj",
        "rotary_emb_dim",
    ]);
    Ok(())
}

/// Of how many layers one has experts; 0 where none has.
fn every(source: &FamilySource<'_>) -> usize {
    source.peek("moe_every_n_layers").ok().flatten().unwrap_or(0)
}

/// Which layers have experts, how many, and how many of them read a token.
#[derive(Clone, Copy)]
struct Routing {
    every: usize,
    count: usize,
    chosen: usize,
}

fn experts(source: &mut FamilySource<'_>, gated: bool) -> Result<Option<Routing>, LoadError> {
    let every = source.take::<usize>("moe_every_n_layers")?.unwrap_or(0);
    source.without_effect(&["moe_impl", "moe_resid_pdrop", "router_aux_loss_coef"]);
    if every == 0 {
        source.without_effect(&[
            "num_experts",
            "moe_top_k",
            "num_shared_experts",
            "expert_choice_router",
            "moe_normalize_expert_weights",
            "ffn_div",
        ]);
        return Ok(None);
    }
    source.unset(&["expert_choice_router", "moe_normalize_expert_weights"])?;
    source.only(&[("num_shared_experts", &[json!(0)]), ("ffn_div", &[json!(1), json!(1.0)])])?;
    let count = source.size(&["num_experts"])?;
    let chosen = source.size(&["moe_top_k"])?;
    if gated {
        return Err(source.not_native("activation_function", "with a gate in layers of experts"));
    }
    if count > MOST_EXPERTS || chosen > count {
        let why =
            format!("moe_top_k {chosen} of num_experts {count}: at most all of them, and {MOST_EXPERTS}, are served");
        return Err(LoadError::unsupported(source.keys.path(), why));
    }
    Ok(Some(Routing { every, count, chosen }))
}

impl Routing {
    /// Whether a layer has experts.
    fn is_in(self, layer: usize) -> bool {
        layer % self.every == 1
    }

    fn experts(
        self,
        source: &FamilySource<'_>,
        at: &str,
        (hidden, inner): (usize, usize),
        act: Pointwise,
    ) -> FeedForward {
        let tensor = |name: &str| source.tensor(&format!("{at}.experts.mlp.{name}"));
        let stored = self.count * inner;
        let expert = |i: usize| {
            let taken = Taken::From { first: i * inner, rows: inner };
            Expert {
                up: Linear { weight: TensorRows { name: tensor("w1"), stored, taken }, bias: None, from: hidden },
                down: tensor("w2"),
                rows: i * inner..(i + 1) * inner,
                stored,
            }
        };
        let bias = format!("{at}.experts.bias");
        FeedForward::Experts(Box::new(Experts {
            router: source.linear(&format!("{at}.router.layer"), hidden, self.count),
            chosen: self.chosen,
            act,
            each: (0..self.count).map(expert).collect(),
            bias: source.has(&bias).then(|| source.tensor(&bias)),
        }))
    }
}

/// The activation, and whether it is a gate.
fn activation(source: &mut FamilySource<'_>) -> Result<(Pointwise, bool), LoadError> {
    match source.take::<String>("activation_function")?.as_deref() {
        Some("swiglu") => Ok((Pointwise::Silu, true)),
        Some("geglu") => Ok((Pointwise::Gelu, true)),
        Some("gelu") => Ok((Pointwise::Gelu, false)),
        Some(other) => Err(source.not_native("activation_function", other)),
        None => Ok((source.act("hidden_act", Pointwise::Silu)?, true)),
    }
}

/// The word table may have more rows than the vocabulary, to a multiple.
fn vocab(source: &mut FamilySource<'_>) -> Result<usize, LoadError> {
    let said = source.size(&["vocab_size"])?;
    let stored = source.weights.rows(&source.tensor("embeddings.word_embeddings.weight")).unwrap_or(said);
    Ok(stored.max(said))
}

/// Names of either generation.
struct Names {
    new: bool,
}

impl Names {
    fn of(&self, i: usize, old: &str, new: &str) -> String {
        if self.new { format!("layers.{i}.{new}") } else { format!("encoder.layers.{i}.{old}") }
    }

    fn projections(&self, source: &FamilySource<'_>, i: usize, hidden: usize) -> [Linear; 3] {
        if self.new {
            return ["q_proj", "k_proj", "v_proj"]
                .map(|part| source.linear(&format!("layers.{i}.self_attn.{part}"), hidden, hidden));
        }
        source.thirds(&self.of(i, "attn.Wqkv", ""), hidden, hidden)
    }

    fn norms(&self, source: &FamilySource<'_>, i: usize, eps: f32) -> [Norm; 2] {
        [("norm1", "post_attention_layernorm"), ("norm2", "post_mlp_layernorm")]
            .map(|(old, new)| source.layer_norm(&self.of(i, old, new), eps))
    }
}

fn heads(source: &FamilySource<'_>, hidden: usize, act: Pointwise, eps: f32) -> Heads {
    let norms = ["cls.predictions.transform.LayerNorm", "cls.predictions.transform.layer_norm"];
    let norm = norms.iter().find(|name| source.weights.has(&format!("{name}.weight"))).unwrap_or(&norms[0]);
    let dense = "cls.predictions.transform.dense";
    Heads {
        sequence: Some(SequenceHead {
            reads: Reads::First,
            classifier: Classifier {
                steps: vec![
                    HeadStep::Linear(source.linear("pooler.dense", hidden, hidden)),
                    HeadStep::Act(Pointwise::Tanh),
                ],
                out: "classifier".to_owned(),
                has_bias: true,
            },
        }),
        tokens: Some(Classifier { steps: Vec::new(), out: "classifier".to_owned(), has_bias: true }),
        causal: None,
        vocabulary: Some(VocabularyHead {
            transform: Some(Transform {
                dense: product(dense, hidden, hidden, source.weights.has(&format!("{dense}.bias"))),
                act,
                norm: layer_norm(source.weights, norm, eps),
            }),
            decoder: "cls.predictions.decoder.weight".to_owned(),
            biases: vec!["cls.predictions.bias".to_owned(), "cls.predictions.decoder.bias".to_owned()],
        }),
    }
}
