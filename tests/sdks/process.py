"""Servers and gateways as processes of their own, for whichever tests need real ones."""

from __future__ import annotations

import os
import subprocess
import threading
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

READY_WITHIN = 120.0
"""Seconds that servers may take to start, on a machine that compiles beside them."""


def binary(variable: str, name: str) -> Path:
    """A program that is tested: what the variable names, else what cargo built here."""
    path = Path(os.environ.get(variable) or ROOT / "target" / "debug" / name)
    if not path.is_file():
        pytest.fail(f"there is no {name} at {path}: `cargo build -p {name}`, or set {variable}")
    return path


class Process:
    """A server or a gateway on free ports of loopback."""

    def __init__(self, program: Path, scratch: Path, *flags: str) -> None:
        scratch.mkdir()
        self.log = scratch / "log"
        self.files = {what: scratch / what for what in ("addr", "http-addr", "admin-addr")}
        command = [str(program), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", *flags]
        for what, file in self.files.items():
            command += [f"--{what}-file", str(file)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SORTIE_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def wait(self) -> None:
        """Waits until it takes requests."""
        pause = threading.Event()
        for _ in range(int(READY_WITHIN / 0.02)):
            if all(file.is_file() and file.read_text().strip() for file in self.files.values()) and self.ready():
                return
            if self.process.poll() is not None:
                break
            pause.wait(0.02)
        self.stop()
        pytest.fail(f"a process did not start: {self.log.read_text(errors='replace')[-2000:]}")

    def address(self, what: str) -> str:
        """Where a port is bound."""
        return self.files[what].read_text().strip()

    def ready(self) -> bool:
        """Whether it says that it takes work."""
        try:
            with urllib.request.urlopen(f"http://{self.address('http-addr')}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def metrics(self, name: str) -> float:
        """Sum of a metric over its labels."""
        with urllib.request.urlopen(f"http://{self.address('admin-addr')}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        found = [line for line in lines if line.startswith((name + " ", name + "{"))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    def stop(self) -> None:
        """Asks it to leave, and waits."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
