//! The bill of materials of ONNX Runtime's folder, as CycloneDX: libraries name no package by themselves, so scanners of
//! an image would not see them.
//!
//! Invariant: it is made of the pins by which the folder was fetched, and of nothing else.

use std::{fs, path::Path};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::catalog::Wheel;

/// Release of the format: one that scanners have read for years.
const FORMAT: &str = "1.5";

/// Writes what `wheels` are, so that a scanner finds it in `file`, whose name must end in `.cdx.json` for that.
pub(crate) fn write(wheels: &[&Wheel], file: &Path) -> anyhow::Result<()> {
    let text = format!("{:#}\n", bill(wheels));
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn bill(wheels: &[&Wheel]) -> Value {
    let components: Vec<Value> = wheels
        .iter()
        .map(|wheel| {
            json!({
                "type": "library",
                "name": wheel.package,
                "version": wheel.version,
                "purl": format!("pkg:pypi/{}@{}", wheel.package, wheel.version),
                "hashes": [{"alg": "SHA-256", "content": wheel.sha256}],
            })
        })
        .collect();
    json!({"bomFormat": "CycloneDX", "specVersion": FORMAT, "version": 1, "components": components})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    #[test]
    fn each_wheel_is_a_component_with_its_digest() {
        let wheels: Vec<_> = catalog::ORT_CUDA.iter().map(|parts| &parts.wheel).collect();
        let bill = bill(&wheels);
        let components = bill["components"].as_array().unwrap();
        assert_eq!(components.len(), catalog::ORT_CUDA.len());
        for (component, wheel) in components.iter().zip(&wheels) {
            assert_eq!(component["purl"], format!("pkg:pypi/{}@{}", wheel.package, wheel.version));
            assert_eq!(component["hashes"][0]["content"], wheel.sha256);
        }
    }
}
