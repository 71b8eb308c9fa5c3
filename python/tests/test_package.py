"""What the package is made of: generated files, types, the wheel, its neighbours in a process."""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import sortie

HERE = Path(__file__).resolve().parents[1]
SOURCE = HERE / "src"


def test_what_is_generated_is_what_the_command_makes(tmp_path: Path) -> None:
    lines = ["import pathlib, sys", "sys.path.insert(0, 'tools')", "import generate"]
    script = "; ".join([*lines, "generate.generate(pathlib.Path(sys.argv[1]))"])
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, cwd=HERE)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len(made) > 10
    different = [str(path) for path in made if not filecmp.cmp(tmp_path / path, SOURCE / path, shallow=False)]
    assert not different, "run `python tools/generate.py`"
    committed = {path.relative_to(SOURCE) for path in SOURCE.rglob("*_pb2*") if path.suffix in (".py", ".pyi")}
    assert committed <= set(made), "a contract file was removed and its stubs were not"


def test_the_wheel_is_pure_and_whole(tmp_path: Path) -> None:
    script = "import sys; from flit_core import buildapi; print(buildapi.build_wheel(sys.argv[1]))"
    out = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], check=True, cwd=HERE, capture_output=True, text=True
    )
    name = out.stdout.strip()
    assert name == f"sortie-{sortie.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(tmp_path / name) as wheel:
        packed = set(wheel.namelist())
        metadata = wheel.read(f"sortie-{sortie.__version__}.dist-info/METADATA").decode()
    files = {str(path.relative_to(SOURCE)) for path in (SOURCE / "sortie").rglob("*") if path.suffix in (".py", ".pyi")}
    assert files | {"sortie/py.typed"} <= packed
    wanted = [line.split(": ")[1] for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    assert sorted(want.split(">")[0] for want in wanted) == ["grpcio", "numpy", "protobuf"]
    assert all("<" in want for want in wanted), "ranges have an end"


def test_nothing_of_ours_takes_a_name_that_is_googles() -> None:
    script = (
        "import sortie, google.protobuf.descriptor_pool as p\n"
        "pool = p.Default()\n"
        "for name in ('google/rpc/status.proto', 'google/rpc/error_details.proto', 'grpc/health/v1/health.proto'):\n"
        "    try: pool.FindFileByName(name)\n"
        "    except KeyError: continue\n"
        "    raise SystemExit(name)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)


def test_everything_public_is_described() -> None:
    for name in sortie.__all__:
        assert name == "Input" or getattr(sortie, name).__doc__, name
