//! A configuration of Prometheus for the fleet, with the alerts of the Helm chart.

use std::path::Path;

use serde_json::json;

/// The alerts, as Prometheus reads them, below the checkout's root.
pub(crate) const ALERTS: &str = "deploy/helm/sortie/files/alerts.yaml";

/// The file's text; JSON is YAML. Alerts go by the names of the jobs and show the labels `release` and `group`.
pub(super) fn config(servers: &[&str], gateway: Option<&str>, group: &str, root: &Path) -> String {
    let job = |name: &str, targets: &[&str]| {
        json!({
            "job_name": name,
            "static_configs": [{ "targets": targets, "labels": { "release": "fleet", "group": group } }],
        })
    };
    let mut jobs = vec![job("sortie", servers)];
    jobs.extend(gateway.map(|gateway| job("sortie-gateway", &[gateway])));
    let config = json!({
        "global": { "scrape_interval": "5s", "evaluation_interval": "5s" },
        "rule_files": [root.join(ALERTS).display().to_string()],
        "scrape_configs": jobs,
    });
    format!("{config:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn the_rules_are_where_the_configuration_says() {
        let text = config(&["127.0.0.1:1", "127.0.0.1:2"], Some("127.0.0.1:3"), "m\"", &workspace::root());
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(Path::new(read["rule_files"][0].as_str().unwrap()).is_file(), "{text}");
        let targets = &read["scrape_configs"][0]["static_configs"][0]["targets"];
        assert_eq!(targets, &json!(["127.0.0.1:1", "127.0.0.1:2"]));
        assert_eq!(read["scrape_configs"][1]["job_name"], "sortie-gateway");
        assert_eq!(read["scrape_configs"][1]["static_configs"][0]["targets"], json!(["127.0.0.1:3"]));
    }
}
