"""Alerts and dashboard name only metrics that exist, and each alert has its section in the runbook."""
import re

import metric_names
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
