"""A gateway before three servers, and a browser that says what it did not like."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sdks"))

from process import Process, binary  # noqa: E402

KEY = "0123456789abcdef"

SERVERS = 3
"""Servers behind the gateways."""

WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
"""
"""Remembers what the policy forbade."""


@dataclass
class Fleet:
    """What runs."""

    servers: list[Process]
    open: Process
    """A gateway without keys."""
    closed: Process
    """A gateway with a key."""

    def url(self, process: Process | None = None, port: str = "http") -> str:
        """Where a page is."""
        return f"http://{(process or self.open).address(f'{port}-addr')}/"

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Asks the gateway without keys."""
        request = urllib.request.Request(self.url() + path, json.dumps(body).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three servers with the demo's models, and two gateways before them."""
    scratch = tmp_path_factory.mktemp("page")
    flags = ["--threads", "1", "--tokenize-threads", "1"]
    for model in os.environ["SORTIE_PAGE_MODELS"].split(";"):
        flags += ["--model", model]
    keys = scratch / "keys"
    keys.write_text(f"visitor:{KEY}\n")
    started: list[Process] = []
    try:
        program = binary("SORTIE_SERVER", "sortie-server")
        for n in range(SERVERS):
            started.append(Process(program, scratch / f"server-{n}", "--replica", f"server-{n}", *flags))
        for server in started:
            server.wait()
        endpoints = ",".join(f"http://{server.address('addr')}" for server in started)
        gateway = binary("SORTIE_GATEWAY", "sortie-gateway")
        for name, more in (("open", []), ("closed", ["--api-keys", str(keys)])):
            started.append(Process(gateway, scratch / name, "--endpoint", endpoints, "--replica", name, *more))
            started[-1].wait()
        yield Fleet(started[:SERVERS], started[SERVERS], started[SERVERS + 1])
    finally:
        for process in reversed(started):
            process.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, as the system has it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ["SORTIE_BROWSER"])
        yield browser
        browser.close()


@dataclass
class Visits:
    """Opens pages, and knows what browsers complained of."""

    browser: Browser
    contexts: list[BrowserContext] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __call__(self, url: str, **options: Any) -> Page:
        context = self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(30_000)
        self.contexts.append(context)
        page = context.new_page()
        scripted = options.get("java_script_enabled", True)
        if scripted:
            page.add_init_script(WATCH)
            self.pages.append(page)

        def console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                self.complaints.append(f"{message.type}: {message.text}")

        page.on("console", console)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        answer = page.goto(url)
        assert answer is not None and answer.status == 200
        return page


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page. At the end nothing may have been complained of."""
    visits = Visits(browser)
    yield visits
    for page in visits.pages:
        if page.is_closed():
            continue
        visits.complaints += page.evaluate("window.violations")
    for context in visits.contexts:
        context.close()
    assert not visits.complaints


@pytest.fixture(scope="session")
def shot() -> Callable[[Page, str], None]:
    """Keeps a picture of a whole page for people to look at."""
    folder = Path(os.environ["SORTIE_SHOTS"])
    folder.mkdir(parents=True, exist_ok=True)

    def take(page: Page, name: str) -> None:
        page.screenshot(path=folder / f"{name}.png", full_page=True)

    return take
