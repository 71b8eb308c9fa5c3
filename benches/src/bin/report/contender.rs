//! The servers of real models: ours, those of packages, and those that are given by path or address.

use std::str::FromStr;

use clap::ValueEnum as _;
use sortie_lab::bench::{BenchProtocol, BenchTask};

/// A server of a real model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// `sortie-server`.
    Sortie,
    /// A library behind FastAPI, by its name in `benches/rivals/backends.py`.
    Shim(&'static str),
    /// infinity, from its package.
    Infinity,
    /// One that the caller has.
    Given(GivenContender),
}

/// A server that the caller has: `--rival NAME=PATH` or `--rival NAME=PROTOCOL+ADDRESS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GivenContender {
    pub(crate) name: String,
    pub(crate) place: GivenPlace,
}

/// Where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GivenPlace {
    /// A program: `tei` is text-embeddings-router, `vllm` vLLM's.
    Program(String),
    /// What listens somewhere, and what it speaks.
    Address(BenchProtocol, String),
}

/// Servers that no package registry has for this command to start, and how they come in all the same.
const ABSENT: [(&str, &str); 4] = [
    ("tei", "comes as an image or as source, in no package registry; --rival tei=PATH"),
    ("vllm", "its package needs a GPU; --rival vllm=PATH, or an address with vllm+http://"),
    ("triton", "comes as an image; --rival triton=kserve+http://ADDRESS"),
    ("llama.cpp", "its own package is source alone; --rival llama.cpp=jina+http://ADDRESS"),
];

/// Those of them that were not given, by the key that the report has for them.
pub(crate) fn absent(given: &[GivenContender]) -> impl Iterator<Item = (String, String)> {
    let there = |name: &str| given.iter().any(|rival| rival.name == name);
    let absent = ABSENT.into_iter().filter(move |(name, _)| !there(name));
    absent.map(|(name, why)| (format!("models_{name}"), why.to_owned()))
}

impl FromStr for GivenContender {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, place) = text.split_once('=').ok_or("is not NAME=PATH or NAME=PROTOCOL+http://ADDRESS")?;
        let place = match place.split_once("+http://") {
            Some((protocol, rest)) => {
                GivenPlace::Address(BenchProtocol::from_str(protocol, false)?, format!("http://{rest}"))
            }
            None if place.contains("://") => {
                return Err("an address needs its protocol: NAME=PROTOCOL+http://ADDRESS".to_owned());
            }
            None if ["tei", "vllm"].contains(&name) => GivenPlace::Program(place.to_owned()),
            None => return Err(format!("how {name} is started is not known here; start it and give its address")),
        };
        Ok(Self { name: name.to_owned(), place })
    }
}

impl Contender {
    /// Ours, and those of packages.
    pub(crate) fn packaged() -> Vec<Self> {
        let shims = ["sentence-transformers", "sentence-transformers-openvino", "fastembed", "ort-padded"];
        [Self::Sortie].into_iter().chain(shims.map(Self::Shim)).chain([Self::Infinity]).collect()
    }

    /// What rows call it.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Sortie => "sortie",
            Self::Shim(backend) => backend,
            Self::Infinity => "infinity",
            Self::Given(given) => &given.name,
        }
    }

    /// What it speaks.
    pub(crate) fn protocol(&self, task: BenchTask) -> BenchProtocol {
        let embeds = task == BenchTask::Embed;
        match self {
            Self::Sortie => BenchProtocol::Sortie,
            Self::Shim(_) => BenchProtocol::Tei,
            Self::Infinity if embeds => BenchProtocol::OpenAi,
            Self::Infinity => BenchProtocol::Jina,
            Self::Given(GivenContender { place: GivenPlace::Address(protocol, _), .. }) => *protocol,
            Self::Given(GivenContender { name, .. }) if name == "vllm" && embeds => BenchProtocol::OpenAi,
            Self::Given(GivenContender { name, .. }) if name == "vllm" => BenchProtocol::Vllm,
            Self::Given(_) => BenchProtocol::Tei,
        }
    }

    /// Whether it reads an ONNX export rather than the model's own folder.
    pub(crate) fn reads_onnx(&self) -> bool {
        matches!(self, Self::Shim("fastembed" | "ort-padded"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rivals_are_given_by_path_or_address() {
        let given: GivenContender = "triton=kserve+http://127.0.0.1:8000".parse().unwrap();
        let address = GivenPlace::Address(BenchProtocol::KServe, "http://127.0.0.1:8000".to_owned());
        assert_eq!(given, GivenContender { name: "triton".to_owned(), place: address });
        let tei = Contender::Given("tei=/opt/router".parse().unwrap());
        assert_eq!((tei.name(), tei.protocol(BenchTask::Rerank)), ("tei", BenchProtocol::Tei));
        for wrong in ["tei", "tei=http://x", "other=/path", "x=smtp+http://y"] {
            assert!(wrong.parse::<GivenContender>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_is_not_given_is_named() {
        let names = |given: &[GivenContender]| absent(given).map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&[]), ["models_tei", "models_vllm", "models_triton", "models_llama.cpp"]);
        assert!(!names(&["tei=/opt/router".parse().unwrap()]).contains(&"models_tei".to_owned()));
    }
}
