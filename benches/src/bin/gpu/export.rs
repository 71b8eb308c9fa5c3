//! An encoder that somebody exported to ONNX, on the generic path: 200 texts to vectors, with token states pooled on
//! the device and with all of them brought back to the host.

use sortie_benches::rerank_items;
use sortie_engine::{CudaOptions, Executor, LoadOptions, Model, Want, WorkItem};

use crate::{Common, speed};

/// The export, in the folder of real models.
const EXPORT: &str = "minilm-onnx";

/// Prints the table, where the export is there.
pub(crate) fn run(common: &Common) -> anyhow::Result<()> {
    let Some(folder) = common.models.as_ref().map(|m| m.join(EXPORT)).filter(|f| f.is_dir()) else { return Ok(()) };
    let options = LoadOptions { prefer_onnx: true, max_length: Some(512), ..common.options()? };
    let mut rows = Vec::new();
    let mut tokens = 0;
    for (how, bind) in [("states pooled on the device", true), ("states brought back", false)] {
        let cuda = CudaOptions { bind, ..options.cuda.clone() };
        let model = Model::open(&folder, &LoadOptions { cuda, ..options.clone() })?;
        let want = Want::Embedding(model.info().embed);
        let mut work = speed::items(rerank_items()?);
        work.iter_mut().for_each(|item| item.want = want);
        let all: Vec<&WorkItem> = work.iter().collect();
        tokens = all.iter().map(|i| i.sequence.len()).sum();
        let mut executor = Executor::new(&model)?;
        rows.push((how, speed::timed(common.rounds, || speed::answer(&mut executor, &all))?));
    }
    println!("\n## {EXPORT}, an f32 export, padded, on {}\n", common.device);
    println!("| 200 texts to vectors, {tokens} tokens | ms | tokens/s |\n| --- | ---: | ---: |");
    for (how, seconds) in rows {
        println!("| {how} | {:.2} | {:.0} |", seconds * 1e3, tokens as f64 / seconds);
    }
    Ok(())
}
