//! What `deploy/` goes by is on the server: every metric that an alert, a panel of the
//! dashboard or an autoscaler names has a series once one request was answered,
//! before anything was refused or failed. A rule over a series that comes with the
//! first fault would miss that fault.

use std::collections::BTreeSet;

use crate::support::{Server, rerank};

/// Files whose expressions run in Prometheus.
const FILES: [(&str, &str); 4] = [
    ("alerts.yaml", include_str!("../../../deploy/helm/sortie/files/alerts.yaml")),
    ("dashboard.json", include_str!("../../../deploy/helm/sortie/files/dashboard.json")),
    ("scaledobject.yaml", include_str!("../../../deploy/helm/sortie/templates/scaledobject.yaml")),
    ("prometheus-adapter.yaml", include_str!("../../../deploy/prometheus-adapter.yaml")),
];

/// How names of metrics begin that gateways show, and servers do not: a test of the gateway looks for them.
const OF_GATEWAYS: [&str; 2] = ["sortie_gateway_", "sortie_client_"];

/// Names of metrics of servers in a text.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let metrics = words.filter(|word| word.starts_with("sortie_") || word.starts_with("process_"));
    metrics.filter(|word| !OF_GATEWAYS.iter().any(|of| word.starts_with(of))).collect()
}

#[tokio::test]
async fn metrics_of_alerts_dashboard_and_autoscalers_are_there_before_the_first_fault() {
    let server = Server::start(1.0, 1.0, &["--admin", "127.0.0.1:0"]).await;
    rerank(&mut server.client().await, &["one"]).await.unwrap();
    let text = server.metrics().await;
    let shown: BTreeSet<_> = text.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    for (file, content) in FILES {
        let wanted = named(content);
        assert!(!wanted.is_empty(), "{file} names no metric");
        let missing: Vec<_> = wanted.difference(&shown).collect();
        assert!(missing.is_empty(), "{file} names what the server does not show: {missing:?}");
    }
}
