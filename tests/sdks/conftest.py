"""Doors that many tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import ALL, Door, Doors


@pytest.fixture(scope="session")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """Fleets, started as they are asked for."""
    doors = Doors(tmp_path_factory.mktemp("doors"))
    try:
        yield doors
    finally:
        doors.stop()


@pytest.fixture(params=["gateway", "server"])
def kind(request: pytest.FixtureRequest) -> str:
    """A gateway before three servers, or one server's own HTTP port."""
    return str(request.param)


@pytest.fixture
def door(doors: Doors, kind: str) -> Door:
    """A door to all models."""
    return doors.of(kind, *ALL)


@pytest.fixture(autouse=True)
def nothing_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy comes between, and no key of the user's goes along."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    for name in ("OPENAI_API_KEY", "CO_API_KEY", "COHERE_API_KEY", "HF_TOKEN", "HF_API_TOKEN", "BASETEN_API_KEY"):
        monkeypatch.delenv(name, raising=False)
