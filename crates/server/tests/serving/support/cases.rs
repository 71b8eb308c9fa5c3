//! The oracle's cases: inputs, their token ids, and the reference's numbers.

use serde_json::Value;
use sortie_proto::v1;

use super::{ids, oracle, pair, text};

/// The oracle prints six digits.
pub(crate) const TOLERANCE: f32 = 1e-4;

/// One input of an oracle folder and what the reference makes of it.
pub(crate) struct Case {
    pub(crate) text: String,
    pub(crate) pair: Option<String>,
    pub(crate) ids: Vec<u32>,
    pub(crate) type_ids: Vec<u32>,
    pub(crate) all: Value,
}

/// Every case of a folder.
pub(crate) fn cases(model: &str) -> Vec<Case> {
    let file = std::fs::read(oracle(model).join("expected.json")).unwrap();
    let all: Value = serde_json::from_slice(&file).unwrap();
    let list = |v: &Value| v.as_array().map_or(vec![], |a| a.iter().map(|n| n.as_u64().unwrap() as u32).collect());
    let case = |c: &Value| Case {
        text: c["text"].as_str().unwrap().to_owned(),
        pair: c["pair"].as_str().map(str::to_owned),
        ids: list(&c["input_ids"]),
        type_ids: list(&c["token_type_ids"]),
        all: c.clone(),
    };
    all["cases"].as_array().unwrap().iter().map(case).collect()
}

/// The numbers of a nested list, in order.
pub(crate) fn numbers(value: &Value) -> Vec<f32> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        number => vec![number.as_f64().unwrap() as f32],
    }
}

/// Every case as a text or a pair, then every case as ids.
pub(crate) fn inputs(cases: &[Case]) -> Vec<v1::Input> {
    let written = cases.iter().map(|c| match &c.pair {
        Some(second) => pair(&c.text, second),
        None => text(&c.text),
    });
    written.chain(cases.iter().map(|c| ids(&c.ids, &c.type_ids))).collect()
}

/// What [`inputs`] must give: the numbers at `key` of every case, then once more.
pub(crate) fn twice(cases: &[Case], key: &str) -> Vec<f32> {
    let once: Vec<f32> = cases.iter().flat_map(|c| numbers(&c.all[key])).collect();
    [once.clone(), once].concat()
}

/// The tokens that [`inputs`] must count.
pub(crate) fn tokens_of(cases: &[Case]) -> Vec<u32> {
    let once: Vec<u32> = cases.iter().map(|c| c.ids.len() as u32).collect();
    [once.clone(), once].concat()
}

/// Little-endian floats.
pub(crate) fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}
