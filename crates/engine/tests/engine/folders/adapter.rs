//! LoRA adapters, merged at load, against the same numbers merged by hand.

use std::path::Path;

use sortie_engine::{EmbedSpec, EncodeOptions, Model, Want};

use super::{numbers, open, options, run};
use crate::support::{close, oracle};

#[test]
fn a_lora_adapter_is_merged_into_its_base() {
    use safetensors::{Dtype, SafeTensors, tensor::TensorView};
    let bytes = |numbers: &[f32]| numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let number = |seed: usize| ((seed * 7919 % 1000) as f32 / 1000.0 - 0.5) * 0.2;
    let base = oracle("bert-base");
    let stored = std::fs::read(base.join("model.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&stored).unwrap();
    let module = "encoder.layer.0.attention.self.query";
    let (rank, hidden) = (3, 64);
    let a: Vec<f32> = (0..rank * hidden).map(number).collect();
    let b: Vec<f32> = (0..hidden * rank).map(|i| number(i + 11)).collect();

    for stabilised in [false, true] {
        let adapter = tempfile::tempdir().unwrap();
        let (a_bytes, b_bytes) = (bytes(&a), bytes(&b));
        let named = |part: &str| format!("base_model.model.{module}.lora_{part}.weight");
        let tensors = [
            (named("A"), TensorView::new(Dtype::F32, vec![rank, hidden], &a_bytes).unwrap()),
            (named("B"), TensorView::new(Dtype::F32, vec![hidden, rank], &b_bytes).unwrap()),
        ];
        safetensors::serialize_to_file(tensors, None, &adapter.path().join("adapter_model.safetensors")).unwrap();
        let config = serde_json::json!({
            "peft_type": "LORA", "r": rank, "lora_alpha": 6, "use_rslora": stabilised, "bias": "none",
            "base_model_name_or_path": base, "target_modules": ["query"], "lora_dropout": 0.1, "inference_mode": true,
        });
        std::fs::write(adapter.path().join("adapter_config.json"), config.to_string()).unwrap();

        // The twin: the same numbers merged by hand.
        let merged = tempfile::tempdir().unwrap();
        let name = format!("{module}.weight");
        let scale = if stabilised { 6.0 / (rank as f32).sqrt() } else { 6.0 / rank as f32 };
        let weight: Vec<f32> = stored
            .tensor(&name)
            .unwrap()
            .data()
            .chunks_exact(4)
            .map(|x| f32::from_le_bytes(x.try_into().unwrap()))
            .collect();
        let weight: Vec<f32> = weight
            .iter()
            .enumerate()
            .map(|(i, w)| {
                w + scale * (0..rank).map(|k| b[i / hidden * rank + k] * a[k * hidden + i % hidden]).sum::<f32>()
            })
            .collect();
        let weight = bytes(&weight);
        let all: Vec<(String, TensorView<'_>)> = stored
            .tensors()
            .into_iter()
            .map(|(n, view)| {
                if n == name {
                    (n, TensorView::new(Dtype::F32, vec![hidden, hidden], &weight).unwrap())
                } else {
                    (n, view)
                }
            })
            .collect();
        safetensors::serialize_to_file(all, None, &merged.path().join("model.safetensors")).unwrap();
        for file in ["config.json", "tokenizer.json"] {
            std::fs::copy(base.join(file), merged.path().join(file)).unwrap();
        }

        let vector = |folder: &Path| {
            let model = open(folder);
            let sequence = model.tokenizer().encode("w20 w21 w22", &EncodeOptions::default()).unwrap();
            numbers(&run(&model, vec![sequence], Want::Embedding(EmbedSpec::default()))[0])
        };
        let (ours, by_hand, plain) = (vector(adapter.path()), vector(merged.path()), vector(&base));
        close(&ours, &by_hand, 1e-5, "merged");
        assert!(ours.iter().zip(&plain).any(|(a, b)| (a - b).abs() > 1e-3), "the adapter changes the answer");

        let refused = |from: &str, to: &str| {
            let text = config.to_string().replace(from, to);
            assert_ne!(text, config.to_string());
            std::fs::write(adapter.path().join("adapter_config.json"), text).unwrap();
            Model::open(adapter.path(), &options()).unwrap_err().to_string()
        };
        for (from, to, word) in [
            ("\"r\":3", "\"r\":3,\"use_dora\":true", "use_dora"),
            ("\"r\":3", "\"r\":3,\"modules_to_save\":[\"classifier\"]", "modules_to_save"),
            ("\"r\":3", "\"r\":4", "ranks"),
            ("\"LORA\"", "\"IA3\"", "IA3"),
            ("\"bias\":\"none\"", "\"bias\":\"all\"", "bias"),
            (base.to_str().unwrap(), "org/not-here", "org/not-here"),
        ] {
            let error = refused(from, to);
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
