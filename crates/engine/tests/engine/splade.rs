//! A real SPLADE model on the native path: related texts share weight, others none.

use sortie_engine::{EncodeOptions, Executor, LoadOptions, Model, Output, Task, Want, WorkItem};

use crate::support::real;

type Sparse = Vec<(u32, f32)>;

fn dot(a: &Sparse, b: &Sparse) -> f32 {
    a.iter().flat_map(|(i, x)| b.iter().filter(move |(j, _)| i == j).map(move |(_, y)| x * y)).sum()
}

#[test]
fn related_texts_share_weight() {
    let model = Model::open(&real("splade"), &LoadOptions { threads: Some(2), ..LoadOptions::default() }).unwrap();
    assert_eq!((model.info().engine, &model.info().task), ("native", &Task::SparseEmbedding));
    let mut executor = Executor::new(&model).unwrap();
    let texts = ["how to parse json in rust", "deserialize JSON with serde", "the cat sat on the mat"];
    let items: Vec<WorkItem> = texts
        .iter()
        .map(|t| {
            let sequence = model.tokenizer().encode(t, &EncodeOptions::default()).unwrap();
            WorkItem { sequence, want: Want::Sparse }
        })
        .collect();
    let answers = executor.run(&items.iter().collect::<Vec<_>>());
    let vectors: Vec<Sparse> = answers
        .into_iter()
        .map(|a| match a {
            Ok(Output::Sparse(v)) => v,
            other => panic!("{other:?}"),
        })
        .collect();
    for v in &vectors {
        assert!((8..=30).contains(&v.len()), "{} entries", v.len());
        assert!(v.windows(2).all(|w| w[0].0 < w[1].0) && v.iter().all(|e| e.1 > 0.0));
    }
    assert!((dot(&vectors[0], &vectors[1]) - 4.39).abs() < 0.01, "{}", dot(&vectors[0], &vectors[1]));
    assert!(dot(&vectors[0], &vectors[2]) < 0.01);
}
