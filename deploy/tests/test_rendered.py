"""What holds for the manifests of every example."""
import json
import os
import subprocess
import tomllib

import pytest
import yaml
from conftest import CHART


def of(objects, kind):
    return [o for o in objects if o["kind"] == kind]


def spec(deployment):
    return deployment["spec"]["template"]["spec"]


def process(deployment):
    """The container of a server or a gateway."""
    return next(c for c in spec(deployment)["containers"] if c["name"] in ("server", "gateway"))


def is_gateway(deployment):
    return process(deployment)["name"] == "gateway"


def servers(objects):
    return [d for d in of(objects, "Deployment") if not is_gateway(d)]


def gateways(objects):
    return [d for d in of(objects, "Deployment") if is_gateway(d)]


def toml(objects, deployment):
    name = next(v["configMap"]["name"] for v in spec(deployment)["volumes"] if v["name"] == "config")
    file = process(deployment)["name"] + ".toml"
    return next(o for o in of(objects, "ConfigMap") if o["metadata"]["name"] == name)["data"][file]


def settings(objects, deployment):
    """The settings of a configuration file, up to its first table."""
    return tomllib.loads(toml(objects, deployment).split("[[")[0])


def matches(selector, labels):
    return bool(selector) and all(labels.get(k) == v for k, v in selector.items())


def test_names_are_unique_and_short(rendered):
    names = [(o["kind"], o["metadata"]["name"]) for o in rendered]
    assert len(names) == len(set(names))
    assert all(len(name) <= 63 for _, name in names)


def test_each_selector_matches_its_own_pods_only(rendered):
    pods = {d["metadata"]["name"]: d["spec"]["template"]["metadata"]["labels"] for d in of(rendered, "Deployment")}
    tests = [p["metadata"]["labels"] for p in of(rendered, "Pod")]
    assert pods
    selectors = [(s["metadata"]["name"].removesuffix("-headless"), s["spec"]["selector"]) for s in of(rendered, "Service")]
    assert len(selectors) == 2 * len(pods)
    for kind, key in (("Deployment", "selector"), ("PodDisruptionBudget", "selector")):
        selectors += [(o["metadata"]["name"], o["spec"][key]["matchLabels"]) for o in of(rendered, kind)]
    for name, selector in selectors:
        assert [n for n, labels in pods.items() if matches(selector, labels)] == [name]
        assert not any(matches(selector, labels) for labels in tests)


def test_services_reach_the_port_that_the_server_listens_on(rendered):
    for d in of(rendered, "Deployment"):
        ports = {p["name"]: p["containerPort"] for p in process(d)["ports"]}
        listened = {"grpc": "listen", "http": "http", "metrics": "admin"}
        said = settings(rendered, d)
        assert {listened[name]: port for name, port in ports.items()} == {
            name: int(said[name].rsplit(":", 1)[1]) for name in listened.values() if name in said
        }
        plain, headless = (
            next(s["spec"] for s in of(rendered, "Service") if s["metadata"]["name"] == d["metadata"]["name"] + end)
            for end in ("", "-headless")
        )
        assert headless["clusterIP"] == "None" and headless["publishNotReadyAddresses"] is False
        # nothing maps ports behind a headless service
        assert {p["name"]: p["port"] for p in headless["ports"]} == ports
        assert {p["name"] for p in plain["ports"]} == ports.keys() - {"metrics"}, "the admin port is not for callers"
        assert all(p["targetPort"] == p["name"] for p in plain["ports"] + headless["ports"])


def test_probes_ask_by_name_or_over_http_where_the_port_speaks_tls(rendered):
    for d in of(rendered, "Deployment"):
        tls = "tls_cert" in toml(rendered, d)
        for kind, name, path in (
            # a gateway that lives waits for servers as long as they take
            ("startupProbe", *(("liveness", "/livez") if is_gateway(d) else ("readiness", "/readyz"))),
            ("readinessProbe", "readiness", "/readyz"),
            ("livenessProbe", "liveness", "/livez"),
        ):
            probe = process(d)[kind]
            if tls:
                assert probe["httpGet"] == {"path": path, "port": "metrics"} and "grpc" not in probe
            else:
                port = next(p["containerPort"] for p in process(d)["ports"] if p["name"] == "grpc")
                assert probe["grpc"] == {"port": port, "service": name}


def test_a_pod_has_time_to_finish_what_it_accepted(rendered):
    for d in of(rendered, "Deployment"):
        said = settings(rendered, d)
        seconds = [int(said[k].removesuffix("s")) for k in ("drain_grace", "drain_timeout")]
        stop = process(d).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert sum(seconds) + stop < spec(d)["terminationGracePeriodSeconds"]


def test_no_replicas_where_something_scales(rendered):
    scaled = {o["spec"]["scaleTargetRef"]["name"] for k in ("HorizontalPodAutoscaler", "ScaledObject") for o in of(rendered, k)}
    for d in of(rendered, "Deployment"):
        assert ("replicas" in d["spec"]) != (d["metadata"]["name"] in scaled)


def test_gpus_are_asked_for_where_the_device_is_cuda(rendered):
    for d in servers(rendered):
        gpus = {k: v for k, v in process(d)["resources"].get("limits", {}).items() if k.startswith("nvidia.com/")}
        assert bool(gpus) == ('device = "cuda:all"' in toml(rendered, d))
        roll = d["spec"]["strategy"].get("rollingUpdate")
        if gpus:
            assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec(d)["tolerations"]
            assert roll is None or roll == {"maxSurge": 0, "maxUnavailable": 1}
        elif roll:
            assert roll == {"maxSurge": 1, "maxUnavailable": 0}


def test_secrets_are_mounted_or_referred_to_and_never_written_out(rendered):
    for o in of(rendered, "Deployment") + of(rendered, "Pod"):
        pod = spec(o) if o["kind"] == "Deployment" else o["spec"]
        for c in pod["containers"]:
            for arg in c.get("args", []):
                assert "token" not in arg.lower() and "key=" not in arg.replace("--tls-key=/etc/", "")
            for e in c.get("env", []):
                if e["name"] in ("HF_TOKEN", "SORTIE_TOKEN"):
                    assert set(e) == {"name", "valueFrom"} and "secretKeyRef" in e["valueFrom"]
    assert not of(rendered, "Secret")


def test_secret_files_are_renewed(rendered):
    for d in of(rendered, "Deployment"):
        assert not any("subPath" in m for m in process(d)["volumeMounts"])


def test_pods_are_hardened(rendered):
    for o in of(rendered, "Deployment") + of(rendered, "Pod"):
        pod = spec(o) if o["kind"] == "Deployment" else o["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False, "a Service sortie-x would set SORTIE_X_… in the process"
        for c in pod["containers"]:
            context = c["securityContext"]
            assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
            assert context["capabilities"]["drop"] == ["ALL"]


def test_every_mount_has_its_volume(rendered):
    for o in of(rendered, "Deployment") + of(rendered, "Pod"):
        pod = spec(o) if o["kind"] == "Deployment" else o["spec"]
        volumes = {v["name"] for v in pod.get("volumes", [])}
        mounts = {m["name"] for c in pod["containers"] + pod.get("initContainers", []) for m in c.get("volumeMounts", [])}
        assert mounts == volumes


def test_the_dashboard_is_json_and_the_rules_keep_their_templates(rendered):
    for o in of(rendered, "ConfigMap"):
        if o["metadata"]["name"].endswith("-dashboard"):
            assert json.loads(o["data"]["sortie.json"])["uid"] == "sortie-fleet"
    for o in of(rendered, "PrometheusRule"):
        rules = [r for g in o["spec"]["groups"] for r in g["rules"]]
        source = yaml.safe_load((CHART / "files/alerts.yaml").read_text())
        exprs = {r["alert"]: r["expr"] for g in source["groups"] for r in g["rules"]}
        assert rules and all(r["expr"] == exprs[r["alert"]] for r in rules)
        assert all("{{ $labels." in r["annotations"]["summary"] for r in rules)


@pytest.mark.parametrize("program, deployments", [("SORTIE_SERVER", servers), ("SORTIE_GATEWAY", gateways)])
def test_the_program_reads_its_configuration(rendered, tmp_path, program, deployments):
    if program not in os.environ:
        pytest.skip(f"{program} names no binary")
    for d in deployments(rendered):
        file = tmp_path / "settings.toml"
        file.write_text(toml(rendered, d))
        result = subprocess.run([os.environ[program], "--config", file, "--print-config"], capture_output=True, text=True, check=False)
        # files of secrets are not there; everything else must make sense
        assert result.returncode == 0 or "/etc/sortie/" in result.stderr, result.stderr
