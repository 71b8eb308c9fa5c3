//! Which module a class path of modules.json names.
//!
//! A class is known by its whole path: code of a folder's own that happens to be called `…Transformer` is not the
//! library's, and is refused by name. sentence-transformers has moved its modules twice; every path it still reads is
//! known here.

/// A module of sentence-transformers or PyLate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Transformer,
    MlmTransformer,
    Pooling,
    Dense,
    /// PyLate's Dense: on tokens, without an activation unless one is named.
    PylateDense,
    Normalize,
    LayerNorm,
    Dropout,
    WordWeights,
    SpladePooling,
    SparseStaticEmbedding,
    StaticEmbedding,
    Router,
    MultiVectorMask,
    HierarchicalTokenPooling,
    LogitScore,
}

/// Packages that hold modules of the library; the class is the last part of the path.
const PACKAGES: [&str; 7] = [
    "sentence_transformers.models",
    "sentence_transformers.sparse_encoder.models",
    "sentence_transformers.base.modules",
    "sentence_transformers.sentence_transformer.modules",
    "sentence_transformers.sparse_encoder.modules",
    "sentence_transformers.multi_vector_encoder.modules",
    "sentence_transformers.cross_encoder.modules",
];

impl Class {
    /// By the path in modules.json.
    pub(crate) fn of(path: &str) -> Option<Self> {
        if path == "pylate.models.Dense.Dense" || path == "pylate.models.Dense" {
            return Some(Class::PylateDense);
        }
        let (package, name) = path.rsplit_once('.')?;
        // A class lies in its package or in a file of it.
        let known = PACKAGES.iter().any(|p| {
            package
                .strip_prefix(p)
                .is_some_and(|rest| rest.is_empty() || (rest.starts_with('.') && !rest[1..].contains('.')))
        });
        if !known {
            return None;
        }
        Some(match name {
            "Transformer" => Class::Transformer,
            "MLMTransformer" => Class::MlmTransformer,
            "Pooling" => Class::Pooling,
            "Dense" => Class::Dense,
            "Normalize" => Class::Normalize,
            "LayerNorm" => Class::LayerNorm,
            "Dropout" => Class::Dropout,
            "WordWeights" => Class::WordWeights,
            "SpladePooling" => Class::SpladePooling,
            "SparseStaticEmbedding" | "IDF" => Class::SparseStaticEmbedding,
            "StaticEmbedding" => Class::StaticEmbedding,
            "Router" | "Asym" => Class::Router,
            "MultiVectorMask" => Class::MultiVectorMask,
            "HierarchicalTokenPooling" => Class::HierarchicalTokenPooling,
            "LogitScore" => Class::LogitScore,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_known_by_its_whole_path() {
        for (path, want) in [
            ("sentence_transformers.models.Transformer", Some(Class::Transformer)),
            ("sentence_transformers.models.Pooling", Some(Class::Pooling)),
            ("sentence_transformers.base.modules.transformer.Transformer", Some(Class::Transformer)),
            ("sentence_transformers.sentence_transformer.modules.pooling.Pooling", Some(Class::Pooling)),
            ("sentence_transformers.sparse_encoder.models.SpladePooling", Some(Class::SpladePooling)),
            ("sentence_transformers.models.Asym", Some(Class::Router)),
            ("sentence_transformers.cross_encoder.modules.logit_score.LogitScore", Some(Class::LogitScore)),
            ("pylate.models.Dense.Dense", Some(Class::PylateDense)),
            ("Transformer", None),
            ("custom_st.Transformer", None),
            ("modeling_mine.Pooling", None),
            ("evil.sentence_transformers.models.Pooling", None),
            ("sentence_transformers.models.a.b.Pooling", None),
            ("sentence_transformers.modelsX.Pooling", None),
            ("sentence_transformers.models.CLIPModel", None),
        ] {
            assert_eq!(Class::of(path), want, "{path}");
        }
    }
}
