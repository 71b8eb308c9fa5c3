"""What holds for gateways, in every example and for single values."""
import json
import os
import re
import subprocess

import kubernetes_validate
import pytest
import yaml
from conftest import CHART, DEPLOY, HELM, objects
from test_rendered import gateways, matches, of, process, servers, settings, spec, toml
from test_values import GROUP, group

ON = {"enabled": True}
SECURED = {"tls": {"enabled": True, "secretName": "tls", "clientAuth": True}, "apiKeys": {"existingSecret": "keys"}}
SHOWN = {"enabled": True, "servers": {"tokenSecret": "token", "clientCertSecret": "cert"}}


def labels(deployment):
    return deployment["spec"]["template"]["metadata"]["labels"]


def mounted(deployment):
    """Path -> secret."""
    secrets = {v["name"]: v["secret"] for v in spec(deployment)["volumes"] if "secret" in v}
    return {m["mountPath"]: secrets[m["name"]] for m in process(deployment)["volumeMounts"] if m["name"] in secrets}


def test_there_is_none_unless_asked_for(render):
    assert not gateways(render({}))
    assert "gateway" not in yaml.safe_dump_all([o for o in render({"networkPolicy": ON}) if o["kind"] != "ConfigMap"])


def test_each_gateway_sends_to_the_servers_of_its_group(rendered):
    for d in gateways(rendered):
        name, namespace_port = settings(rendered, d)["endpoint"][0].removeprefix("dns:///").split(".", 1)
        service = next(o for o in of(rendered, "Service") if o["metadata"]["name"] == name)
        assert service["spec"]["clusterIP"] == "None"
        port = next(p["port"] for p in service["spec"]["ports"] if p["name"] == "grpc")
        assert namespace_port == f"ns:{port}"
        behind = [s["metadata"]["name"] for s in servers(rendered) if matches(service["spec"]["selector"], labels(s))]
        assert [f"{group}-gateway" for group in behind] == [d["metadata"]["name"]]


def test_it_has_no_model_no_card_and_nothing_to_write_to(rendered):
    for d in gateways(rendered):
        volumes = {v["name"] for v in spec(d)["volumes"]} - {"more"}
        assert volumes <= {"config", "tls", "servers-tls", "keys", "servers-key", "servers-cert"}
        assert not any(e["name"].startswith("HF_") for e in process(d)["env"])
        assert not any("nvidia" in key for key in process(d)["resources"].get("limits", {}))
        assert "initContainers" not in spec(d)


def test_every_file_of_a_secret_that_it_names_is_mounted(rendered):
    for d in gateways(rendered):
        files = re.findall(r'"(/etc/sortie/[^"]+)"', toml(rendered, d))
        assert {os.path.dirname(f) for f in files} == mounted(d).keys()


def test_of_two_certificates_it_holds_the_servers_authority_and_not_their_key(render):
    d = gateways(render({**group(gateway={**SHOWN, "tls": {"secretName": "own"}}), **SECURED}))[0]
    assert mounted(d)["/etc/sortie/tls"]["secretName"] == "own"
    assert mounted(d)["/etc/sortie/servers-tls"] == {
        "secretName": "tls", "items": [{"key": "ca.crt", "path": "ca.crt"}], "defaultMode": 288
    }


def test_what_servers_ask_for_it_shows_and_asks_its_callers_for(render):
    objects = render({**group(gateway=SHOWN), **SECURED})
    said = settings(objects, gateways(objects)[0])
    assert said["api_keys"] == "/etc/sortie/keys/keys" and said["tls_client_ca"] == "/etc/sortie/tls/ca.crt"
    assert said["endpoint_token_file"] == "/etc/sortie/servers-key/token"
    assert said["endpoint_tls_ca"] == "/etc/sortie/tls/ca.crt"
    assert said["endpoint_tls_cert"] == "/etc/sortie/servers-cert/tls.crt"


def test_keys_at_the_gateway_and_certificates_between_keep_tenants_apart(render):
    tls = {"tls": SECURED["tls"]}
    gateway = {"enabled": True, "apiKeys": {"existingSecret": "callers"}, "tls": {"clientAuth": False}, "servers": {"clientCertSecret": "cert"}}
    objects = render({**group(gateway=gateway), **tls})
    door, server = (settings(objects, of(objects)[0]) for of in (gateways, servers))
    assert door["api_keys"] and "tls_client_ca" not in door and "endpoint_token_file" not in door
    assert "api_keys" not in server and server["tls_client_ca"]


def test_its_http_port_can_be_off(render):
    objects = render(group(gateway={"enabled": True, "http": {"enabled": False}}))
    assert "http" not in settings(objects, gateways(objects)[0])
    for service in of(objects, "Service"):
        assert "http" not in [p["name"] for p in service["spec"]["ports"]]


def test_a_group_may_be_without(render):
    values = {"gateway": ON, "groups": [GROUP, {**GROUP, "name": "alone", "gateway": {"enabled": False}}]}
    assert [d["metadata"]["name"] for d in gateways(render(values))] == ["r-sortie-g-gateway"]


def test_its_autoscaler_goes_by_processor_time(render):
    objects = render(group(gateway={"enabled": True, "autoscaling": {"enabled": True, "targetCPU": 50}}))
    (hpa,) = of(objects, "HorizontalPodAutoscaler")
    (metric,) = hpa["spec"]["metrics"]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
    assert process(gateways(objects)[0])["resources"]["requests"]["cpu"]


def allowed(policies, pod, direction, peer, port):
    """Whether a policy for pods with these labels lets in (or out) pods of the namespace with the peer's labels."""

    def selects(selector, of):
        expressions = selector.get("matchExpressions", [])
        assert all(e["operator"] == "NotIn" for e in expressions)
        return all(of.get(k) == v for k, v in selector.get("matchLabels", {}).items()) and not any(
            of.get(e["key"]) in e["values"] for e in expressions
        )

    rules = [r for p in policies if selects(p["spec"]["podSelector"], pod) for r in p["spec"][direction]]
    return any(
        port in [p["port"] for p in r["ports"]]
        and any("podSelector" in way and selects(way["podSelector"], peer) for way in r.get({"ingress": "from", "egress": "to"}[direction], []))
        for r in rules
    )


def test_the_network_policies_let_callers_to_the_gateway_and_it_to_its_servers(render):
    only = {"podSelector": {"matchLabels": {"app": "caller"}}}
    groups = [GROUP, {**GROUP, "name": "other"}]
    policy = {"enabled": True, "clients": [{"podSelector": {"matchLabels": {"app": "direct"}}}]}
    objects = render({"groups": groups, "networkPolicy": policy, "gateway": {"enabled": True, "clients": [only]}})
    policies = of(objects, "NetworkPolicy")
    door, _ = gateways(objects)
    server, other = servers(objects)
    caller, direct = {"app": "caller"}, {"app": "direct"}
    assert allowed(policies, labels(door), "ingress", caller, 50050) and allowed(policies, labels(door), "ingress", caller, 8080)
    assert not allowed(policies, labels(door), "ingress", direct, 50050)
    assert not allowed(policies, labels(door), "ingress", caller, 9090)
    assert allowed(policies, labels(door), "egress", labels(server), 50051)
    assert allowed(policies, labels(server), "ingress", labels(door), 50051)
    assert not allowed(policies, labels(door), "egress", labels(other), 50051)
    assert not allowed(policies, labels(server), "ingress", caller, 50051)
    assert allowed(policies, labels(server), "ingress", direct, 50051)
    # gateways need nothing of the network beside
    assert not any(443 in [p["port"] for p in r["ports"]] for p in policies if "gateway" in p["metadata"]["name"] for r in p["spec"]["egress"])


def test_helm_test_may_call_servers_and_gateways(render):
    objects = render({**group(gateway=ON), "networkPolicy": ON})
    tests = {p["metadata"]["name"]: p for p in of(objects, "Pod")}
    assert tests.keys() == {"r-sortie-g-test", "r-sortie-g-gateway-test"}
    pod = tests["r-sortie-g-gateway-test"]
    policies = of(objects, "NetworkPolicy")
    for deployment, port in ((servers(objects)[0], 50051), (gateways(objects)[0], 50050)):
        assert allowed(policies, pod["metadata"]["labels"], "egress", labels(deployment), port)
    (endpoint,) = [e["value"] for e in pod["spec"]["containers"][0]["env"] if e["name"] == "SORTIE_ENDPOINT"]
    assert endpoint == "http://r-sortie-g-gateway.ns:50050"


@pytest.mark.parametrize(
    "values, said",
    [
        ({"gateway": {"enable": True}}, "enable"),
        ({"gateway": {"config": {"max_queue_tokens": 1}}}, "max_queue_tokens"),
        ({"gateway": {"config": {"endpoint": ["http://a"]}}}, "endpoint"),
        ({"gateway": {"config": {"gateways": 0}}}, "gateways"),
        ({"gateway": {"config": {"http_alias": ["a"]}}}, "http_alias"),
        ({"gateway": {"endpoints": ["a:1"]}}, "endpoints"),
        (group(gateway={"port": 0}), "port"),
        (group(gateway={"autoscaling": {"queueWaitMetric": "x"}}), "queueWaitMetric"),
    ],
)
def test_a_typo_fails(refuse, values, said):
    assert said in refuse(values)


@pytest.mark.parametrize(
    "values, said",
    [
        (group(gateway={**ON, "drain": {"longestDeadlineSeconds": 60}}), "gateway: drain needs 70 s"),
        (group(gateway={**ON, "port": 9090}), "are the same"),
        (group(gateway={**ON, "http": {"port": 50050}}), "are the same"),
        (group(gateway={**ON, "autoscaling": {"minReplicas": 9}}), "gateway.autoscaling.minReplicas is above"),
        ({"gateway": {**ON, "autoscaling": ON, "resources": {"requests": {"cpu": None}}}}, "requests.cpu"),
        ({**group(gateway=ON), "apiKeys": SECURED["apiKeys"]}, "gateway.servers.tokenSecret"),
        ({**group(gateway=ON), "tls": SECURED["tls"]}, "gateway.servers.clientCertSecret"),
        (group(gateway={**ON, "tls": {"secretName": "x"}}), "tls.enabled is false"),
        ({"groups": [{**GROUP, "gateway": ON}, {**GROUP, "name": "g-gateway"}]}, "name of another group's gateway"),
        ({"fullnameOverride": "n" * 40, **group(gateway=ON, name="g" * 20)}, "more than 63 characters"),
        ({"http": {"enabled": True, "port": 9090}}, "http.port"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_value_to_change(refuse, values, said):
    assert said in refuse(values)


def test_the_schema_knows_every_setting_of_the_gateway():
    """Its own, in docs/gateway.md, and those it shares with servers, which `--help` lists."""
    own = set(re.findall(r"^\| `(\w+)` \| `SORTIE_", (DEPLOY.parent / "docs/gateway.md").read_text(), re.M))
    schema = json.loads((CHART / "values.schema.json").read_text())["definitions"]
    allowed = set(schema["gateway"]["properties"]["config"]["properties"])
    set_by_chart = {
        *("listen", "addr_file", "http", "http_addr_file", "admin", "admin_addr_file", "api_keys", "tls_cert", "tls_key", "tls_client_ca"),
        *("replica", "otlp_endpoint", "drain_grace", "drain_timeout", "health", "endpoint", "endpoint_file", "endpoint_token_file"),
        *("endpoint_tls_ca", "endpoint_tls_cert", "endpoint_tls_key", "endpoint_tls_domain"),
    }
    assert own <= allowed | set_by_chart and not allowed & set_by_chart
    assert allowed - own <= set(schema["config"]["properties"])
    if "SORTIE_GATEWAY" in os.environ:
        text = subprocess.run([os.environ["SORTIE_GATEWAY"], "--help"], capture_output=True, text=True, check=True).stdout
        flags = {flag.replace("-", "_") for flag in re.findall(r"^ +(?:-\w, )?--([a-z-]+)", text, re.M)}
        assert flags - {"config", "print_config", "help", "version"} == allowed | set_by_chart


def beside(name):
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


@pytest.mark.skipif("SORTIE_GATEWAY" not in os.environ, reason="SORTIE_GATEWAY names no binary")
@pytest.mark.parametrize("where", ["sidecar", "compose", "compose-tei", "image"])
def test_the_gateway_takes_the_arguments_it_is_given(where):
    if where == "sidecar":
        args = beside("gateway-sidecar.yaml")[0]["spec"]["template"]["spec"]["initContainers"][0]["args"]
    elif where.startswith("compose"):
        args = beside(f"{where}.yaml")[0]["services"]["gateway"]["command"]
    else:
        stage = (DEPLOY / "Dockerfile").read_text().split(" AS gateway\n")[1].split("\nFROM ")[0]
        args = json.loads(re.search(r"^CMD (.*)$", stage, re.M)[1])
    result = subprocess.run([os.environ["SORTIE_GATEWAY"], *args, "--print-config"], capture_output=True, text=True, check=False)
    assert result.returncode == 0 and "\nhttp = " in result.stdout, result.stderr


@pytest.mark.skipif("SORTIE_SERVER" not in os.environ, reason="SORTIE_SERVER names no binary")
@pytest.mark.parametrize("stage", ["cpu-tei", "cuda-tei"])
def test_the_server_takes_the_words_of_tei_that_it_is_given(stage):
    image = (DEPLOY / "Dockerfile").read_text().split(f" AS {stage}\n")[1].split("\nFROM ")[0]
    entry, default = (json.loads(re.search(rf"^{word} (.*)$", image, re.M)[1]) for word in ("ENTRYPOINT", "CMD"))
    variables = dict(pair.split("=", 1) for pair in re.search(r"^ENV (.*)$", image, re.M)[1].split())
    service = beside("compose-tei.yaml")[0]["services"]["tei-0"]
    said = {name: value for name, value in service["environment"].items() if not value.startswith("$")}
    for args, more in ((default, {}), (service["command"].split(), said)):
        command = [os.environ["SORTIE_SERVER"], *entry[1:], *args, "--", "--print-config"]
        result = subprocess.run(command, capture_output=True, text=True, check=False, env={**variables, **more})
        assert result.returncode == 0 and 'http = "0.0.0.0:80"' in result.stdout, result.stderr
        assert 'listen = "0.0.0.0:50051"' in result.stdout


def test_the_sidecar_is_a_pod_of_kubernetes_that_callers_alone_reach():
    (deployment,) = beside("gateway-sidecar.yaml")
    kubernetes_validate.validate(deployment, "1.37", strict=True)
    pod = deployment["spec"]["template"]["spec"]
    (sidecar,) = pod["initContainers"]
    said = dict(arg.removeprefix("--").split("=", 1) for arg in sidecar["args"])
    assert sidecar["restartPolicy"] == "Always"
    assert said["listen"].startswith("127.0.0.1:") and said["http"].startswith("127.0.0.1:")
    assert int(said["drain-timeout"].removesuffix("s")) < pod["terminationGracePeriodSeconds"]
    for c in [sidecar, *pod["containers"]]:
        context = c["securityContext"]
        assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"] and context["capabilities"]["drop"] == ["ALL"]
    told = {e["name"]: e.get("value") for e in pod["containers"][0]["env"]}
    assert told["COHERE_BASE_URL"] == f"http://{said['http']}" and told["SORTIE_ENDPOINT"] == f"http://{said['listen']}"


def test_envoys_policy_is_for_the_route_and_the_route_for_the_servers():
    door, route, policy = beside("envoy-gateway.yaml")
    assert route["spec"]["parentRefs"] == [{"name": door["metadata"]["name"]}]
    assert policy["spec"]["targetRefs"] == [{"group": "gateway.networking.k8s.io", "kind": route["kind"], "name": route["metadata"]["name"]}]
    assert policy["spec"]["loadBalancer"]["type"] == "BackendUtilization" and "backendUtilization" in policy["spec"]["loadBalancer"]
    (rule,) = route["spec"]["rules"]
    contract = (DEPLOY.parent / "proto/sortie/v1/encoder_service.proto").read_text()
    package, service = rule["matches"][0]["method"]["service"].rsplit(".", 1)
    assert f"package {package};" in contract and f"service {service} {{" in contract
    command = [HELM, "template", "sortie", str(CHART), "--namespace", "sortie"]
    rendered = objects(subprocess.run(command, capture_output=True, text=True, check=False))
    ports = {(s["metadata"]["name"], p["port"]) for s in of(rendered, "Service") for p in s["spec"]["ports"]}
    assert [(b["name"], b["port"]) for b in rule["backendRefs"]][0] in ports
