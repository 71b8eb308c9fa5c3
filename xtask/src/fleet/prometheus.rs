//! A configuration of Prometheus for the fleet, with the alerts of the Helm chart.

use std::path::Path;

use serde_json::json;

/// The alerts, as Prometheus reads them, below the checkout's root.
pub(crate) const ALERTS: &str = "deploy/helm/sortie/files/alerts.yaml";

/// The file's text; JSON is YAML. Alerts go by the name of the job and show the labels `release` and `group`.
pub(super) fn config(targets: &[&str], group: &str, root: &Path) -> String {
    let config = json!({
        "global": { "scrape_interval": "5s", "evaluation_interval": "5s" },
        "rule_files": [root.join(ALERTS).display().to_string()],
        "scrape_configs": [{
            "job_name": "sortie",
            "static_configs": [{ "targets": targets, "labels": { "release": "fleet", "group": group } }],
        }],
    });
    format!("{config:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn the_rules_are_where_the_configuration_says() {
        let text = config(&["127.0.0.1:1", "127.0.0.1:2"], "m\"", &workspace::root());
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(Path::new(read["rule_files"][0].as_str().unwrap()).is_file(), "{text}");
        let targets = &read["scrape_configs"][0]["static_configs"][0]["targets"];
        assert_eq!(targets, &json!(["127.0.0.1:1", "127.0.0.1:2"]));
    }
}
