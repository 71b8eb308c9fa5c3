"""Renders the chart by `helm` (or the binary in $HELM) once for each set of values; needs pytest 9 and PyYAML 6.

$HELM_ALIKE says that a run with another helm has shown that both render the same bytes of every set: tests that look at
nothing else are left out."""
import functools
import os
import subprocess
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).resolve().parent.parent
CHART = DEPLOY / "helm" / "sortie"
HELM = os.environ.get("HELM", "helm")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SETS = sorted([*DEPLOY.glob("examples/*.yaml"), *CHART.glob("ci/*.yaml")])


@functools.lru_cache(maxsize=None)
def helm(*args, values=None, stdin=None):
    command = [HELM, "template", "r", str(CHART), "--namespace", "ns", *args]
    if values is not None:
        command += ["--values", str(values)]
    if stdin is not None:
        command += ["--values", "-"]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)


def objects(result):
    assert result.returncode == 0, result.stderr
    return [o for o in yaml.load_all(result.stdout, Loader=LOADER) if o]


def pytest_configure(config):
    config.addinivalue_line("markers", "of_sets: looks at nothing but what is rendered of the sets")


def pytest_collection_modifyitems(config, items):
    if "HELM_ALIKE" in os.environ:
        seen = [i for i in items if "rendered" in i.fixturenames or i.get_closest_marker("of_sets")]
        config.hook.pytest_deselected(items=seen)
        items[:] = [i for i in items if i not in seen]


@pytest.fixture
def render():
    """Objects of the chart with these values (a dict)."""
    return lambda values, *args: objects(helm(*args, stdin=yaml.safe_dump(values)))


@pytest.fixture
def refuse():
    """What helm says to values that the chart must refuse."""

    def call(values, *args):
        result = helm(*args, stdin=yaml.safe_dump(values))
        assert result.returncode != 0, "rendered, and should not"
        return result.stderr

    return call


@pytest.fixture(params=SETS, ids=lambda p: p.stem)
def rendered(request):
    """Objects of each example and each set of ci/."""
    return objects(helm(values=request.param))
