//! LoRA adapters: a folder with `adapter_config.json` and `adapter_model.safetensors` beside a base model in another folder.
//!
//! `W' = W + scale · B·A`, `scale = alpha / r`, or `alpha / √r` with rank-stabilised LoRA. Merged when a weight is read, so
//! that a run costs nothing more. What is no plain LoRA is refused by name.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{
    keys::{FileKeys, Notes, shown},
    weights::{Delta, Weights},
};
use crate::error::LoadError;

/// Its settings.
const CONFIG: &str = "adapter_config.json";

/// Its weights.
const WEIGHTS: &str = "adapter_model.safetensors";

/// What peft writes before the name of a base model's module.
const PREFIX: &str = "base_model.model.";

/// An adapter and the folder of its base model.
#[derive(Clone, Debug)]
pub(crate) struct Adapter {
    folder: PathBuf,
    /// The base model.
    pub(crate) base: PathBuf,
    scale: f32,
    rank: usize,
}

impl Adapter {
    /// Reads the adapter in `folder`; `None` where there is none. It counts beside whole weights too: the libraries load
    /// the base model and the adapter, and leave those alone.
    pub(crate) fn read(folder: &Path, notes: &mut Notes) -> Result<Option<Self>, LoadError> {
        let Some(mut keys) = FileKeys::read(&folder.join(CONFIG))? else { return Ok(None) };
        keys.one_of("peft_type", &["LORA"])?;
        keys.one_of("bias", &["none"])?;
        for key in ["use_dora", "lora_bias", "fan_in_fan_out", "use_qalora", "use_bdlora"] {
            keys.only(key, &[json!(false)])?;
        }
        for key in [
            "modules_to_save",
            "rank_pattern",
            "alpha_pattern",
            "layer_replication",
            "trainable_token_indices",
            "target_parameters",
            "arrow_config",
            "alora_invocation_tokens",
        ] {
            keys.only(key, &[])?;
        }
        // Others change the base model's weights when training starts, so that the saved ones are no plain difference.
        keys.only("init_lora_weights", &[json!(true), json!(false), json!("gaussian")])?;
        let rank = keys.need::<usize>("r")?;
        let alpha = keys.need::<f32>("lora_alpha")?;
        if rank == 0 {
            return Err(keys.refused("r", &json!(0), "an adapter has a rank"));
        }
        #[expect(clippy::cast_precision_loss, reason = "ranks are small")]
        let by = if keys.take::<bool>("use_rslora")?.unwrap_or(false) { (rank as f32).sqrt() } else { rank as f32 };
        let named = keys.need::<String>("base_model_name_or_path")?;
        let base = [folder.join(&named), PathBuf::from(&named)].into_iter().find(|path| path.is_dir());
        let base = base.ok_or_else(|| {
            let mut why = "the base model must be a folder here: fetch it, and write its path there".to_owned();
            if Weights::are_in(folder) {
                why.push_str(
                    "; where the weights beside it have the adapter merged already, remove adapter_config.json",
                );
            }
            keys.refused("base_model_name_or_path", &Value::String(named.clone()), &why)
        })?;
        keys.note_rest(notes);
        Ok(Some(Self { folder: folder.to_owned(), base, scale: alpha / by, rank }))
    }

    /// Adds its differences to the base model's weights.
    pub(crate) fn merge(&self, weights: &mut Weights) -> Result<(), LoadError> {
        let path = self.folder.join(WEIGHTS);
        let mine = Weights::open_file(&path)?;
        let mut names: Vec<String> = mine.names().map(str::to_owned).collect();
        names.sort();
        for name in &names {
            let Some(module) = name.strip_suffix(".lora_A.weight") else {
                let is_pair =
                    name.strip_suffix(".lora_B.weight").is_some_and(|m| mine.has(&format!("{m}.lora_A.weight")));
                if is_pair {
                    continue;
                }
                return Err(LoadError::unsupported(
                    &path,
                    format!("tensor {name} is no part of a plain LoRA of linear layers"),
                ));
            };
            let target = format!("{}.weight", module.strip_prefix(PREFIX).unwrap_or(module));
            let target = weights.resolve(&target).ok_or_else(|| {
                LoadError::invalid(&path, format!("tensor {name} changes {target}, which the base model does not have"))
            })?;
            let (a, b) = (mine.get_any(name)?, mine.get_any(&format!("{module}.lora_B.weight"))?);
            let (&[r, inputs], &[outputs, r_too]) = (&a.shape[..], &b.shape[..]) else {
                return Err(LoadError::invalid(
                    &path,
                    format!("tensors of {module} have shapes {:?} and {:?}", a.shape, b.shape),
                ));
            };
            if r != self.rank || r_too != r {
                let ranks = shown(&json!([r, r_too]));
                return Err(LoadError::invalid(
                    &path,
                    format!("{module} has the ranks {ranks}, {CONFIG} says {}", self.rank),
                ));
            }
            weights.add_delta(target, Delta { a: a.data, b: b.data, rank: r, inputs, outputs, scale: self.scale });
        }
        Ok(())
    }
}
