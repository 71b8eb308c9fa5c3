"""Servers that many tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import FakeTime, RealServer, assembled, tiny

TINY = ("bert-base", "bert-rerank", "bert-classify3", "bert-tokens5")
FOLDERS = ("splade-sum", "bert-mve-plain", "static-st")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves slow tests out unless ``-m`` asks for something."""
    if config.getoption("-m"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the models that the server has."""
    into = tmp_path_factory.mktemp("folders")
    return {name: tiny(name) for name in TINY} | {name: assembled(name, into) for name in FOLDERS}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, folders: dict[str, Path]) -> Iterator[RealServer]:
    """A real server of tiny models."""
    server = RealServer(tmp_path_factory.mktemp("server"), folders, "--max-items", "100", "--max-text-bytes", "20000")
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    """A clock that is turned by waiting."""
    return FakeTime(monkeypatch)
