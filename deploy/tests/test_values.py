"""What the chart refuses, and what single values do."""
import copy
import json
import re

import pytest
import yaml
from conftest import CHART, DEPLOY

GROUP = {"name": "g", "models": [{"name": "m", "source": "/models/m"}]}


def group(**more):
    return {"groups": [{**copy.deepcopy(GROUP), **more}]}


@pytest.mark.parametrize(
    "values, said",
    [
        ({"replicaCout": 3}, "replicaCout"),
        ({"image": {"repo": "x"}}, "repo"),
        ({"config": {"max_queue_token": 1}}, "max_queue_token"),
        ({"config": {"listen": "0.0.0.0:1"}}, "listen"),
        ({"config": {"health": False}}, "health"),
        ({"config": {"log_format": "xml"}}, "log_format"),
        ({"config": {"keepalive_interval": "30"}}, "keepalive_interval"),
        ({"service": {"type": "Clusterip"}}, "type"),
        ({"groups": []}, "groups"),
        (group(replicas=3), "replicas"),
        (group(gpu={"cout": 1}), "cout"),
        (group(tests={"arg": []}), "arg"),
        ({"groups": [{"name": "g", "models": [{"name": "m", "path": "/x"}]}]}, "path"),
        ({"groups": [{"name": "Upper", "models": GROUP["models"]}]}, "name"),
        ({"image": {"digest": "sha256:1"}}, "digest"),
    ],
)
def test_a_typo_fails(refuse, values, said):
    assert said in refuse(values)


@pytest.mark.parametrize(
    "values, said",
    [
        (group(drain={"longestDeadlineSeconds": 60}), "drain needs 70 s"),
        (group(autoscaling={"enabled": True}, keda={"enabled": True, "serverAddress": "x"}), "leave one"),
        (group(keda={"enabled": True}), "keda.serverAddress"),
        (group(autoscaling={"enabled": True, "queueWaitMetric": ""}), "has no metric"),
        (group(autoscaling={"enabled": True, "minReplicas": 20}), "minReplicas is above"),
        (group(modelCache={"persistence": {"enabled": True, "accessModes": ["ReadWriteOnce"]}}), "ReadWriteMany"),
        (group(modelCache={"download": {"enabled": True}}), "download.image"),
        (group(models=[GROUP["models"][0], GROUP["models"][0]]), "model m is named twice"),
        ({"groups": [GROUP, GROUP]}, "group g is named twice"),
        ({"tls": {"enabled": True}}, "tls.secretName"),
        ({"tls": {"clientAuth": True}}, "tls.clientAuth"),
        ({"admin": {"models": True}}, "admin.keysSecret"),
        ({"admin": {"port": 50051}}, "are the same"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_value_to_change(refuse, values, said):
    assert said in refuse(values)


def test_the_drain_sum_may_fill_the_grace_period_exactly(render, refuse):
    drain = {"preStopSeconds": 0, "graceSeconds": 5, "longestDeadlineSeconds": 30, "marginSeconds": 5}
    render(group(drain=drain, terminationGracePeriodSeconds=40))
    assert "drain needs 40 s" in refuse(group(drain=drain, terminationGracePeriodSeconds=39))


def test_sleep_before_the_signal_needs_kubernetes_1_29(render, refuse):
    values = group(drain={"preStopSeconds": 3})
    assert "1.29" in refuse(values, "--kube-version", "1.28.0")
    deployment = next(o for o in render(values, "--kube-version", "1.29.0") if o["kind"] == "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] == 3


def test_kubernetes_1_26_is_refused(refuse):
    assert "1.26" in refuse(group(), "--kube-version", "1.26.9")


def test_the_startup_probe_covers_the_whole_start(render):
    values = group(probes={"startupSeconds": 601, "periodSeconds": 10})
    deployment = next(o for o in render(values) if o["kind"] == "Deployment")
    probe = deployment["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] >= 601
    assert deployment["spec"]["progressDeadlineSeconds"] > 601


def test_a_group_says_more_than_the_top_and_leaves_other_groups_alone(render):
    values = {
        "config": {"threads": 4, "log_format": "json"},
        "groups": [
            {"name": "a", "config": {"threads": 8}, "models": GROUP["models"]},
            {"name": "b", "models": GROUP["models"]},
        ],
    }
    files = {o["metadata"]["name"]: o["data"]["server.toml"] for o in render(values) if o["kind"] == "ConfigMap"}
    assert "threads = 8" in files["r-sortie-a"] and 'log_format = "json"' in files["r-sortie-a"]
    assert "threads = 4" in files["r-sortie-b"]


def test_a_change_of_configuration_restarts_its_group_only(render):
    def sums(threads):
        two = {"groups": [{**copy.deepcopy(GROUP), "name": "a", "config": {"threads": threads}}, {**GROUP, "name": "b"}]}
        return {
            o["metadata"]["name"]: o["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
            for o in render(two)
            if o["kind"] == "Deployment"
        }

    before, after = sums(1), sums(2)
    assert before["r-sortie-a"] != after["r-sortie-a"] and before["r-sortie-b"] == after["r-sortie-b"]


def test_the_http_port_is_off_until_asked_for(render):
    def ports(**more):
        objects = render({**group(), **more})
        service = next(o for o in objects if o["kind"] == "Service" and o["metadata"]["name"] == "r-sortie-g")
        file = next(o for o in objects if o["kind"] == "ConfigMap")["data"]["server.toml"]
        return {p["name"]: p["port"] for p in service["spec"]["ports"]}, re.findall(r'^http = "(.*)"$', file, re.M)

    assert ports() == ({"grpc": 50051}, [])
    assert ports(http={"enabled": True, "port": 8081}) == ({"grpc": 50051, "http": 8081}, ["0.0.0.0:8081"])


def test_large_numbers_stay_whole(render):
    files = [o for o in render(group(config={"max_message_bytes": 1073741824})) if o["kind"] == "ConfigMap"]
    assert "max_message_bytes = 1073741824\n" in files[0]["data"]["server.toml"]


def test_the_image_follows_the_device(render):
    def image(**more):
        deployment = next(o for o in render(group(**more)) if o["kind"] == "Deployment")
        return deployment["spec"]["template"]["spec"]["containers"][0]["image"]

    assert image().endswith("-cpu") and image(gpu={"count": 1}).endswith("-cuda")
    assert image(image={"tag": "x"}) == "sortie:x"


def test_an_autoscaler_goes_by_the_metrics_that_are_named(render):
    def metrics(**more):
        objects = render(group(autoscaling={"enabled": True, **more}))
        hpa = next(o for o in objects if o["kind"] == "HorizontalPodAutoscaler")
        return {m["pods"]["metric"]["name"]: m["pods"]["target"]["averageValue"] for m in hpa["spec"]["metrics"]}

    assert metrics() == {"sortie_queue_wait_estimate_seconds": "100m"}
    assert metrics(loadMetric="load", targetLoad="700m", queueWaitMetric="") == {"load": "700m"}


def test_the_adapter_serves_what_the_example_scales_by(render):
    adapter = yaml.safe_load((DEPLOY / "prometheus-adapter.yaml").read_text())
    example = render(yaml.safe_load((DEPLOY / "examples/hpa.yaml").read_text()))
    hpa = next(o for o in example if o["kind"] == "HorizontalPodAutoscaler")
    assert {m["pods"]["metric"]["name"] for m in hpa["spec"]["metrics"]} == {r["name"]["as"] for r in adapter["rules"]["custom"]}


def test_each_group_says_how_it_is_tested(render):
    groups = [GROUP, {**GROUP, "name": "e", "tests": {"args": ["embed", "text"]}}, {**GROUP, "name": "off", "tests": {"enabled": False}}]
    pods = {o["metadata"]["name"]: o["spec"]["containers"][0]["args"] for o in render({"groups": groups}) if o["kind"] == "Pod"}
    assert set(pods) == {"r-sortie-g-test", "r-sortie-e-test"}
    assert pods["r-sortie-g-test"][0] == "rerank" and pods["r-sortie-e-test"] == ["embed", "text"]


def test_the_schema_knows_every_setting_of_the_server():
    """Settings in docs/configuration.md are either in `config` or set by the chart itself."""
    rows = re.findall(r"^\| `(\w+)` \| `SORTIE_", (DEPLOY.parent / "docs/configuration.md").read_text(), re.M)
    schema = json.loads((CHART / "values.schema.json").read_text())
    allowed = set(schema["definitions"]["config"]["properties"])
    set_by_chart = {
        *("listen", "addr_file", "http", "http_addr_file", "admin", "admin_addr_file", "admin_models", "admin_keys", "api_keys"),
        *("tls_cert", "tls_key", "tls_client_ca", "device", "ort_library", "replica", "otlp_endpoint", "drain_grace", "drain_timeout", "health", "model"),
    }
    assert rows and set(rows) == allowed | set_by_chart and not allowed & set_by_chart
