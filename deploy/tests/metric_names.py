#!/usr/bin/env python3
"""Checks that every metric and label that alerts, dashboard and chart use exists.

    python3 deploy/tests/metric_names.py                    # against the tables of docs/
    python3 deploy/tests/metric_names.py http://HOST:9090   # against a running server's or gateway's /metrics too

It must have answered one request and refused one, a gateway have hedged: some counters start with the first.

Needs Python 3.9, PyYAML 6 and promql-parser 0.12, which must also be able to parse every expression.
docs/metrics.md is itself held against a live scrape by a test of the server, docs/gateway.md and docs/client.md by one of the gateway.
"""
import json
import re
import sys
import urllib.request
from pathlib import Path

import promql_parser
import yaml

DEPLOY = Path(__file__).resolve().parent.parent
CHART = DEPLOY / "helm" / "sortie"
# Labels that Prometheus, the ServiceMonitor or a histogram adds, not the server.
ADDED_LABELS = {"namespace", "release", "group", "pod", "instance", "job", "le"}
# Series that are no metric of the server's own table.
OTHER_METRICS = {"up", "process_resident_memory_bytes"}
HISTOGRAM = re.compile(r"_(bucket|sum|count)$")


# Tables of metrics: of servers and gateways, of gateways, of the client that gateways are.
DOCUMENTS = ("metrics.md", "gateway.md", "client.md")
# What only gateways show.
OF_GATEWAYS = ("sortie_gateway_", "sortie_client_")


def documented():
    """Metric name -> set of its labels, from the tables of docs/; histograms by their series."""
    out = {}
    text = "".join((DEPLOY.parent / "docs" / name).read_text() for name in DOCUMENTS)
    for name, kind, labels in re.findall(r"^\| `(sortie_\w+)` \| (\w+) \|(.*?)\|", text, re.M):
        # behind a colon are values
        named = set(re.findall(r"`(\w+)`", labels.split(":")[0]))
        series = [name + s for s in ("_bucket", "_sum", "_count")] if kind == "histogram" else [name]
        out.update({s: named for s in series})
    return out


def alert_expressions():
    rules = yaml.safe_load((CHART / "files/alerts.yaml").read_text())
    return [(f"alert {r['alert']}", r["expr"]) for g in rules["groups"] for r in g["rules"]]


def dashboard_expressions():
    board = json.loads((CHART / "files/dashboard.json").read_text())
    out = []
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            # Grafana's variables, as it would put them in
            expr = target["expr"].replace("$__rate_interval", "1m")
            out.append((f"panel {panel['title']!r}", expr))
    return out


def scaling_expressions():
    """Queries of the ScaledObject, with the template's own parts replaced."""
    text = (CHART / "templates/scaledobject.yaml").read_text()
    found = re.findall(r"query: >-\n(.*?)\n\s+threshold", text, re.S)
    return [("scaledobject", re.sub(r"\{\{.*?\}\}", "", q)) for q in found]


def adapter_expressions():
    """Queries of the adapter, with its own templates replaced as it would for one pod."""
    rules = yaml.safe_load((DEPLOY / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    filled = [r["metricsQuery"].replace("<<.GroupBy>>", "pod").replace("<<.LabelMatchers>>", 'pod="p"') for r in rules]
    return [("adapter", q) for q in [*filled, *(r["seriesQuery"] for r in rules)]]


def problems():
    known = documented()
    assert known, "docs/ has no tables"
    bad, used = [], set()
    for where, expr in alert_expressions() + dashboard_expressions() + scaling_expressions() + adapter_expressions():
        try:
            promql_parser.parse(expr)
        except ValueError as error:
            bad.append(f"{where}: {error}: {expr}")
        names = set(re.findall(r"\b(?:sortie|process)_\w+|\bup\b", expr))
        if not names:
            bad.append(f"{where}: names no metric")
        used |= names
        for name in names - OTHER_METRICS - set(known):
            bad.append(f"{where}: {name} is in no table of docs/")
        labels = set().union(*(known.get(n, set()) for n in names)) | ADDED_LABELS
        wanted = set(re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", expr))
        for group in re.findall(r"\b(?:by|on|ignoring)\s*\(([^)]*)\)", expr):
            wanted |= set(re.findall(r"\w+", group))
        for label in wanted - labels:
            bad.append(f"{where}: no metric of it has the label {label}")
    return bad, used


def live_problems(address, used):
    """Metrics that are used and that a running server or gateway with a model does not show (by their # TYPE line)."""
    text = urllib.request.urlopen(f"{address}/metrics", timeout=10).read().decode()
    shown = set(re.findall(r"^# TYPE (\S+) ", text, re.M))
    gateway = "sortie_gateway_endpoints" in shown
    used = {n for n in used if n.startswith(OF_GATEWAYS) == gateway}
    return [f"{n} is not on {address}/metrics" for n in sorted(used - {"up"}) if n not in shown and HISTOGRAM.sub("", n) not in shown]


if __name__ == "__main__":
    found, names = problems()
    for server in sys.argv[1:]:
        found += live_problems(server, names)
    print("\n".join(found) if found else f"{len(names)} series used, all there")
    sys.exit(bool(found))
