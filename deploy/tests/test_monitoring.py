"""Alerts and dashboard name only metrics that exist, and each alert has its section in the runbook."""
import re

import metric_names
import yaml
from conftest import DEPLOY


def test_metrics_and_labels_exist_and_expressions_parse():
    bad, used = metric_names.problems()
    assert not bad and len(used) > 20


def test_each_alert_has_its_runbook_section_and_its_unit_test():
    names = [where.split()[1] for where, _ in metric_names.alert_expressions()]
    sections = re.findall(r"^### (Sortie\w+)$", (DEPLOY / "README.md").read_text(), re.M)
    assert sorted(sections) == sorted(names)
    tested = (DEPLOY / "tests/alerts_test.yaml").read_text()
    assert all(f"- name: {name}\n" in tested for name in names)


def test_prometheus_without_its_operator_gets_the_same_targets_and_labels(render):
    job = yaml.safe_load((DEPLOY / "prometheus-kubernetes.yml").read_text())["scrape_configs"][0]
    everything = render({"metrics": {"serviceMonitor": {"enabled": True}}})
    monitor = next(o for o in everything if o["kind"] == "ServiceMonitor")["spec"]["endpoints"][0]
    keep, *copies = job["relabel_configs"]

    def kept(service, port):
        labels = {"__meta_kubernetes_endpointslice_port_name": port["name"]}
        for name, value in service["metadata"]["labels"].items():
            labels["__meta_kubernetes_service_label_" + re.sub(r"\W", "_", name)] = value
        return re.fullmatch(keep["regex"], ";".join(labels.get(name, "") for name in keep["source_labels"]))

    services = [o for o in everything if o["kind"] == "Service"]
    found = [(s["metadata"]["name"], p["name"]) for s in services for p in s["spec"]["ports"] if kept(s, p)]
    assert found == [("r-sortie-reranker-headless", monitor["port"])]
    asked = {r["targetLabel"]: r["sourceLabels"] for r in monitor["relabelings"] if "sourceLabels" in r}
    given = {r["target_label"]: r["source_labels"] for r in copies}
    assert job["job_name"] == "sortie" and asked.items() <= given.items() and {"namespace", "pod"} <= given.keys()
