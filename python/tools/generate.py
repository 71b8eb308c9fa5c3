"""Makes what is made: the stubs of ``sortie.v1`` from ``proto/``, and ``aio.py`` from ``client.py``.

Run ``python tools/generate.py`` in a Python that has the packages of ``requirements.lock``. The results are committed; a
test compares them with what this makes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-untyped]

HERE = Path(__file__).resolve().parent.parent
CONTRACT = HERE.parent / "proto"
SOURCE = HERE / "src"

#: How a synchronous method becomes an asynchronous one; tried in this order.
TO_ASYNC = [
    (r"^    def (?!_|with_options|bulk)", "    async def "),
    (r"\bself\._call\(", "await self._call("),
    (r"^from collections\.abc import Callable\b", "from collections.abc import Awaitable, Callable"),
    (r"Callable\[\[Client, list\[Input\]\], T\]", "Callable[[Client, list[Input]], Awaitable[T]]"),
    (r"^( +)for part in client\.bulk", r"\1async for part in client.bulk"),
    (r"Make one and keep it; threads may share it\.", "Make one in each event loop and keep it."),
    (r"\bSyncTransport\b", "AsyncTransport"),
    (r"^( *)from \._sync import\b", r"\1from ._async import"),
    (r"\b_bulk_sync\b", "_bulk_async"),
    (r"\bBulkRun\b", "AsyncBulkRun"),
    (r"\bClient\b", "AsyncClient"),
]


def stubs(out: Path) -> None:
    """Writes every stub below ``out``."""
    (out / "sortie").mkdir(parents=True, exist_ok=True)
    contract = sorted(str(path.relative_to(CONTRACT)) for path in (CONTRACT / "sortie" / "v1").glob("*.proto"))
    services = [name for name in contract if name.endswith("_service.proto")]
    with tempfile.TemporaryDirectory() as folder:
        # Programs of their own, for this Python: what pip put on the PATH may belong to another.
        plugins = []
        for program, function in [("mypy", "main"), ("mypy_grpc", "grpc")]:
            plugin = Path(folder) / f"protoc-gen-{program}"
            plugin.write_text(f"#!{sys.executable}\nfrom mypy_protobuf.main import {function}\n{function}()\n")
            plugin.chmod(0o755)
            plugins.append(f"--plugin={plugin.name}={plugin}")
        messages = [f"--python_out={out}", f"--mypy_out=quiet:{out}"]
        service = [f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}"]
        run([*plugins, f"-I{CONTRACT}", *messages, *contract])
        run([*plugins, f"-I{CONTRACT}", *service, *services])
        run([*plugins, f"-I{SOURCE}", *messages, "sortie/_wire/details.proto"])


def run(arguments: list[str]) -> None:
    """Runs protoc, or ends with what it says."""
    if protoc.main(["protoc", *arguments]) != 0:
        raise SystemExit(f"protoc failed: {' '.join(arguments)}")


def asynchronous(text: str) -> str:
    """The text of ``aio.py``, out of that of ``client.py``."""
    title, rest = text.split("\n", 1)
    rest = rest.replace("# Written by hand; `aio.py` is made of it.", "# Made of `client.py` by tools/generate.py.")
    for pattern, into in TO_ASYNC:
        rest = re.sub(pattern, into, rest, flags=re.MULTILINE)
    return title.replace("The client", "The asyncio client") + "\n" + rest


def generate(out: Path) -> None:
    """Writes everything below ``out``, as it lies in ``src/``."""
    stubs(out)
    aio = out / "sortie" / "aio.py"
    aio.write_text(asynchronous((SOURCE / "sortie" / "client.py").read_text()))
    ruff = [sys.executable, "-m", "ruff"]
    config = ["-q", "--config", str(HERE / "pyproject.toml"), str(aio)]
    subprocess.run([*ruff, "check", "--select", "I", "--fix", *config], check=True)
    subprocess.run([*ruff, "format", *config], check=True)


if __name__ == "__main__":
    generate(SOURCE)
    sys.exit(0)
