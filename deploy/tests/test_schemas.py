"""Every example and every set of ci/: helm lints it, and its objects hold against the schemas of Kubernetes at the oldest and the
newest version served and against those of the operators, unknown fields refused."""
import copy
import os
import subprocess

import kubernetes_validate
import pytest
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor
from conftest import CHART, HELM, SETS, helm, objects

VERSIONS = ("1.27", "1.37")
OPERATORS = {model.__name__: model for model in (ServiceMonitor, PrometheusRule, ScaledObject)}
each_set = pytest.mark.parametrize("values", SETS, ids=lambda p: p.stem)


def unknown(given, kept, path=""):
    """Fields of `given` that are not in `kept`, what a model has read of it: models drop what they do not know."""
    if isinstance(given, dict):
        for key, value in given.items():
            if not isinstance(kept, dict) or key not in kept:
                yield f"{path}.{key}"
            else:
                yield from unknown(value, kept[key], f"{path}.{key}")
    elif isinstance(given, list):
        for n, value in enumerate(given):
            yield from unknown(value, kept[n], f"{path}[{n}]")


def check_operator(o):
    read = OPERATORS[o["kind"]].model_validate(o)
    assert not list(unknown(o, read.model_dump(mode="json", by_alias=True, exclude_unset=True)))


def check_kubernetes(o, version):
    # without a schema, as of an API that is gone, this raises too
    kubernetes_validate.validate(o, version, strict=True)


@each_set
def test_helm_lints_it(values):
    result = subprocess.run([HELM, "lint", "--strict", CHART, "--values", values], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.of_sets
@each_set
@pytest.mark.parametrize("version", VERSIONS)
def test_objects_hold_against_the_schemas(values, version):
    for o in objects(helm("--kube-version", f"{version}.0", values=values)):
        if o["kind"] in OPERATORS:
            check_operator(o)
        else:
            check_kubernetes(o, version)


@pytest.mark.skipif("HELM_OLD" not in os.environ, reason="HELM_OLD names no helm 3")
@each_set
@pytest.mark.parametrize("version", [None, *VERSIONS])
def test_helm_3_renders_the_same_bytes(values, version):
    more = [] if version is None else ["--kube-version", f"{version}.0"]
    command = [os.environ["HELM_OLD"], "template", "r", CHART, "--namespace", "ns", *more, "--values", values]
    old = subprocess.run(command, capture_output=True, text=True, check=True)
    assert old.stdout == helm(*more, values=values).stdout


def everything(kind):
    values = next(p for p in SETS if p.stem == "everything-values")
    return copy.deepcopy(next(o for o in objects(helm(values=values)) if o["kind"] == kind))


@pytest.mark.of_sets
@pytest.mark.parametrize(
    "kind, damage",
    [
        ("ServiceMonitor", lambda s: s["endpoints"][0].update(port=9090)),
        ("ServiceMonitor", lambda s: s["endpoints"][0].update(intervall="15s")),
        ("PrometheusRule", lambda s: s["groups"][0]["rules"][0].update({"for": "5min"})),
        ("ScaledObject", lambda s: s.update(maxReplicaCount="many")),
        ("ScaledObject", lambda s: s.update(maxReplicas=3)),
    ],
)
def test_the_operators_schemas_refuse_mistakes(kind, damage):
    o = everything(kind)
    damage(o["spec"])
    with pytest.raises((ValueError, AssertionError)):
        check_operator(o)


@pytest.mark.of_sets
def test_the_schemas_of_kubernetes_refuse_mistakes():
    for kind, damage in (
        ("Deployment", lambda o: o["spec"]["template"]["spec"]["containers"][0].update(readinesProbe={})),
        ("HorizontalPodAutoscaler", lambda o: o.update(apiVersion="autoscaling/v2beta2")),
        ("PodDisruptionBudget", lambda o: o["spec"].update(maxUnavailabel=1)),
    ):
        o = everything(kind)
        damage(o)
        with pytest.raises((kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError)):
            check_kubernetes(o, VERSIONS[-1])
