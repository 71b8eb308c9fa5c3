//! The document and a live scrape agree, and counters count what happened.

use std::collections::{BTreeMap, BTreeSet};

use sortie_proto::v1;

use crate::support::{admin::serve_with_admin, config, ids, text};

/// Type and label names by metric.
type Table = BTreeMap<String, (String, BTreeSet<String>)>;

/// The rows of `docs/metrics.md`.
fn documented() -> Table {
    let document = include_str!("../../../../docs/metrics.md");
    let ticked = |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let rows = document.lines().filter(|line| line.starts_with("| `sortie_"));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, meaning] = cells[..] else { panic!("not four cells: {row}") };
        assert!(!meaning.is_empty(), "{row}");
        (name.trim_matches('`').to_owned(), (kind.to_owned(), ticked(labels)))
    })
    .collect()
}

/// What a scrape shows, `process_*` aside.
fn scraped(text: &str) -> Table {
    let mut table = Table::new();
    for line in text.lines() {
        if let Some(about) = line.strip_prefix("# TYPE sortie_") {
            let (name, kind) = about.split_once(' ').unwrap();
            table.insert(format!("sortie_{name}"), (kind.to_owned(), BTreeSet::new()));
        } else if line.starts_with("sortie_") {
            let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
            let family =
                ["_bucket", "_sum", "_count"].into_iter().find_map(|end| table.get_key_value(name.strip_suffix(end)?));
            let family = family.map_or_else(|| name.to_owned(), |(name, _)| name.clone());
            let labels = rest.strip_prefix('{').and_then(|r| r.rsplit_once('}')).map_or("", |(labels, _)| labels);
            let names = labels.split("\",").filter_map(|pair| Some(pair.split_once("=\"")?.0.to_owned()));
            table
                .get_mut(&family)
                .unwrap_or_else(|| panic!("no TYPE before {line}"))
                .1
                .extend(names.filter(|n| n != "le"));
        }
    }
    table
}

#[tokio::test]
async fn the_document_has_a_row_for_every_metric_and_no_other() {
    let (_server, mut client, admin) = serve_with_admin(config(&["bert-rerank"])).await;
    // Families by caller's doing show once it was done.
    client.tokenize(v1::TokenizeRequest::default()).await.unwrap_err();
    let (_, text) = admin.get("/metrics").await;
    let (documented, scraped) = (documented(), scraped(&text));
    assert!(documented.len() > 20, "{documented:?}");
    for (name, about) in &scraped {
        assert_eq!(documented.get(name), Some(about), "{name} in docs/metrics.md");
    }
    for name in documented.keys() {
        assert!(scraped.contains_key(name), "{name} is documented but not served");
    }
    assert!(text.contains("# HELP sortie_queue_tokens "), "{text}");
    #[cfg(target_os = "linux")]
    assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
}

#[tokio::test]
async fn what_happened_is_counted() {
    let (_server, mut client, admin) = serve_with_admin(config(&["bert-rerank"])).await;
    let documents = vec![text("w6"), text("w6 ".repeat(9_000)), ids(&[u32::MAX], &[])];
    let request = v1::RerankRequest { query: Some(text("w5")), documents, ..Default::default() };
    let answer = client.rerank(request).await.unwrap().into_inner();
    client.rerank(v1::RerankRequest::default()).await.unwrap_err();
    client.rerank(v1::RerankRequest { model: "nobody".to_owned(), ..Default::default() }).await.unwrap_err();
    let tokens: u32 = answer.items.unwrap().tokens.iter().sum();
    for (series, value) in [
        ("sortie_requests_total{code=\"OK\",model=\"bert-rerank\",rpc=\"Rerank\"}", 1.0),
        ("sortie_requests_total{code=\"INVALID_ARGUMENT\",model=\"bert-rerank\",rpc=\"Rerank\"}", 1.0),
        ("sortie_requests_total{code=\"NOT_FOUND\",model=\"\",rpc=\"Rerank\"}", 1.0),
        ("sortie_refusals_total{model=\"bert-rerank\",reason=\"EMPTY_QUERY\"}", 1.0),
        ("sortie_refusals_total{model=\"\",reason=\"UNKNOWN_MODEL\"}", 1.0),
        ("sortie_requests_in_flight", 0.0),
        ("sortie_items_total{model=\"bert-rerank\",result=\"ok\"}", 2.0),
        ("sortie_items_total{model=\"bert-rerank\",result=\"error\"}", 1.0),
        ("sortie_items_truncated_total{model=\"bert-rerank\"}", 1.0),
        ("sortie_tokens_total{model=\"bert-rerank\"}", f64::from(tokens)),
        ("sortie_stage_duration_seconds_count{model=\"bert-rerank\",stage=\"queue\"}", 1.0),
        ("sortie_request_duration_seconds_count{model=\"bert-rerank\",rpc=\"Rerank\"}", 2.0),
        ("sortie_queue_limit_tokens{model=\"bert-rerank\"}", 1_048_576.0),
        ("sortie_model_ready{model=\"bert-rerank\"}", 1.0),
    ] {
        admin.becomes(series, value).await;
    }
    let batches = admin.metric("sortie_batch_fill_ratio_count{model=\"bert-rerank\"}").await.unwrap();
    assert!(batches >= 5.0, "four of the warm-up and one of ours, got {batches}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_went_away_is_counted_as_cancelled() {
    let (_server, client, admin) = serve_with_admin(config(&["bert-rerank"])).await;
    let mut asking = client.clone();
    let documents = vec![text("w6 ".repeat(180)); 5_000];
    let job = v1::RerankRequest { query: Some(text("w5")), documents, ..Default::default() };
    let job = tokio::spawn(async move { asking.rerank(job).await });
    while admin.metric("sortie_running_tokens{model=\"bert-rerank\"}").await.unwrap() < 1.0 {
        assert!(!job.is_finished(), "the job was too small to be seen");
    }
    job.abort();
    admin.becomes("sortie_requests_in_flight", 0.0).await;
    let series = "sortie_requests_total{code=\"CANCELLED\",model=\"bert-rerank\",rpc=\"Rerank\"}";
    admin.becomes(series, 1.0).await;
    // What waited never ran.
    let dropped = "sortie_items_dropped_total{model=\"bert-rerank\",stage=\"waiting\"}";
    while admin.metric(dropped).await <= Some(0.0) {}
    admin.becomes("sortie_chunks_ended_total{model=\"bert-rerank\",result=\"cancelled\"}", 1.0).await;
}
