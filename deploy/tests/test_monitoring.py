"""Alerts and dashboard name only metrics that exist, and each alert has its section in the runbook."""
import re

import metric_names
import pytest
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


def test_metrics_that_gateways_show_too_are_asked_of_servers_or_of_gateways():
    """A gateway counts the work of all its servers once more: nothing may be summed over both by accident."""
    document = (DEPLOY.parent / "docs/metrics.md").read_text()
    sums = {"sortie_ready", *re.findall(r"`(sortie_(?:request|refusals|items|tokens)\w*)`", document.split("## Queue")[0])}
    assert len(sums) > 5
    whole = "|".join(sorted(sums))
    used = 0
    for where, expr in metric_names.alert_expressions() + metric_names.dashboard_expressions():
        for selector in re.findall(rf"\b(?:{whole})(?:_bucket|_sum|_count)?\b(\{{[^}}]*\}})?", expr):
            used += 1
            by_instance = "on (namespace, pod, instance)" in expr
            assert by_instance or re.search(r'job!?="sortie-gateway"', selector), f"{where}: {expr}"
    assert used > 10


@pytest.mark.parametrize("number, name, component", [(0, "sortie", "reranker"), (1, "sortie-gateway", "reranker-gateway")])
def test_prometheus_without_its_operator_gets_the_same_targets_and_labels(render, number, name, component):
    job = yaml.safe_load((DEPLOY / "prometheus-kubernetes.yml").read_text())["scrape_configs"][number]
    everything = render({"metrics": {"serviceMonitor": {"enabled": True}}, "gateway": {"enabled": True}})
    monitors = [o["spec"] for o in everything if o["kind"] == "ServiceMonitor"]
    assert len(monitors) == 2
    endpoint = monitors[number]["endpoints"][0]
    keep, *copies = job["relabel_configs"]

    def kept(service, port):
        labels = {"__meta_kubernetes_endpointslice_port_name": port["name"]}
        for key, value in service["metadata"]["labels"].items():
            labels["__meta_kubernetes_service_label_" + re.sub(r"\W", "_", key)] = value
        return re.fullmatch(keep["regex"], ";".join(labels.get(key, "") for key in keep["source_labels"]))

    services = [o for o in everything if o["kind"] == "Service"]
    found = [(s["metadata"]["name"], p["name"]) for s in services for p in s["spec"]["ports"] if kept(s, p)]
    assert found == [(f"r-sortie-{component}-headless", endpoint["port"])]
    wanted = monitors[number]["selector"]["matchLabels"]
    selected = [s["metadata"]["name"] for s in services if wanted.items() <= s["metadata"]["labels"].items()]
    assert selected == [f"r-sortie-{component}-headless"]
    asked = {r["targetLabel"]: r["sourceLabels"] for r in endpoint["relabelings"] if "sourceLabels" in r}
    given = {r["target_label"]: r["source_labels"] for r in copies}
    assert asked.items() <= given.items() and {"namespace", "pod"} <= given.keys()
    assert job["job_name"] == name and {"targetLabel": "job", "replacement": name} in endpoint["relabelings"]
