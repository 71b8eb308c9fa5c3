"""The page in a real browser: tried by keyboard, watched, small, dark, without a script, with a key."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import KEY, SERVERS, Fleet
from playwright.sync_api import Page, expect

Visit = Callable[..., Page]
Shot = Callable[[Page, str], None]

QUERY = "how do boats find their way at night?"
DOCUMENTS = [
    "A recipe for bread with olives and thyme.",
    "Lighthouses and lit buoys lead ships along the coast after dark.",
    "Sailors of old steered by the stars when the sun had set.",
]
MANY = [f"{DOCUMENTS[n % 3]} Note {n}." for n in range(96)]

JOBS = 8
"""Jobs within which a gateway has learned what its servers cost, and uses all of them."""

STEPS = 40
"""Presses of the tab key within which anything is reached."""


def tab_to(page: Page, place: str) -> None:
    """Presses tab until an element has the focus."""
    for _ in range(STEPS):
        page.keyboard.press("Tab")
        if page.evaluate("place => document.activeElement.matches(place)", place):
            return
    pytest.fail(f"{place} is not reached by keyboard")


def ranking(page: Page) -> list[tuple[str, float]]:
    """Texts and scores as they are shown."""
    rows = page.locator("#try-answer .ranked > li")
    expect(rows.first).to_be_visible()
    texts, scores = rows.locator(".text").all_inner_texts(), rows.locator(".num").all_inner_texts()
    return list(zip(texts, (float(score) for score in scores if not score.endswith("."))))


def work(fleet: Fleet) -> None:
    """Jobs until one lay on every server."""
    for _ in range(JOBS):
        fleet.post("rerank", {"model": "reranker", "query": QUERY, "texts": MANY})
        with urllib.request.urlopen(fleet.url() + "page/state.json", timeout=10) as answer:
            jobs = json.load(answer)["jobs"]
        if any(len({attempt["server"] for attempt in job["attempts"]}) == SERVERS for job in jobs):
            return
    pytest.fail(f"no job was cut over {SERVERS} servers: {jobs}")


def axe(page: Page) -> None:
    """Fails where a rule of accessibility is broken, contrast among them."""
    found = Axe().run(page)
    assert not found.response["violations"], found.generate_report()


def test_a_rerank_by_keyboard_alone(fleet: Fleet, visit: Visit, shot: Shot) -> None:
    page = visit(fleet.url())
    expect(page.locator("#try")).to_be_visible()
    tab_to(page, ".skip")
    tab_to(page, "input[name=task]")
    assert page.evaluate("document.activeElement.value") == "rerank"
    tab_to(page, "#try-model")
    page.keyboard.type("reranker")
    tab_to(page, "#try-first")
    page.keyboard.press("Control+A")
    page.keyboard.type(QUERY)
    tab_to(page, "#try-lines")
    page.keyboard.press("Control+A")
    page.keyboard.type("\n".join(DOCUMENTS))
    tab_to(page, "#try-run")
    page.keyboard.press("Enter")
    got = ranking(page)
    wanted = fleet.post("rerank", {"model": "reranker", "query": QUERY, "texts": DOCUMENTS})
    assert [text for text, _ in got] == [DOCUMENTS[rank["index"]] for rank in wanted]
    assert [score for _, score in got] == pytest.approx([rank["score"] for rank in wanted], abs=1e-4)
    answer = page.locator("#try-answer")
    expect(answer).to_have_attribute("aria-live", "polite")
    expect(answer).to_contain_text("3 texts")
    expect(page.locator("#jobs-list > li").first).to_contain_text("Rerank")
    shot(page, "rerank")
    # From a field too, and an empty field is named instead of sent.
    page.locator("#try-lines").focus()
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    page.keyboard.press("Control+Enter")
    expect(answer.get_by_role("alert")).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "try-lines"


def test_the_other_tasks(fleet: Fleet, visit: Visit, shot: Shot) -> None:
    page = visit(fleet.url())
    tab_to(page, "input[name=task]")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#try-run")).to_have_text("Similarity")
    page.locator("#try-first").fill(DOCUMENTS[1])
    page.locator("#try-lines").fill("\n".join(DOCUMENTS))
    page.locator("#try-run").click()
    got = ranking(page)
    assert got[0][0] == DOCUMENTS[1] and got[0][1] == pytest.approx(1.0, abs=1e-3)
    assert page.locator("#try-model").input_value() == "minilm", "models made for it come first"

    page.get_by_role("radio", name="Classify").check()
    expect(page.locator("#try-first")).to_be_hidden()
    page.locator("#try-run").click()
    expect(page.locator("#try-answer h3").first).to_be_visible()
    shares = [score for _, score in ranking(page)][:3]
    assert sum(shares) == pytest.approx(1.0, abs=1e-3)

    page.get_by_role("radio", name="Tag").check()
    text = "Write é – to Ada Lovelace at ada@example.com."
    page.locator("#try-lines").fill(text)
    page.locator("#try-run").click()
    marks = page.locator("#try-answer mark")
    expect(marks.first).to_be_visible()
    spans = fleet.post("tag", {"model": "rampart", "inputs": text})
    assert spans and spans[0]["word"] == "Ada"
    shown = [f"{text[span['start'] : span['end']]} {span['entity_group']} {span['score']:.2f}" for span in spans]
    assert marks.all_inner_texts() == shown
    shot(page, "tag")


def test_the_fleet_is_watched_live(fleet: Fleet, visit: Visit, shot: Shot) -> None:
    page = visit(fleet.url())
    work(fleet)
    cards = page.locator("#servers-list > li")
    expect(cards).to_have_count(SERVERS)
    for n in range(SERVERS):
        expect(cards.nth(n)).to_contain_text(f"server-{n}")
        expect(cards.nth(n)).to_contain_text("ready")
    # A job of so many documents lies on every server's row.
    spread = page.locator("#jobs-list > li").filter(has_text=f"{SERVERS} servers").first
    expect(spread).to_be_visible()
    names = spread.locator(".gantt .name").all_inner_texts()
    assert sorted(names) == [f"server-{n}" for n in range(SERVERS)]
    assert spread.locator(".span .compute").count() >= SERVERS
    label = spread.locator(".gantt").get_attribute("aria-label") or ""
    assert "server-0" in label and "ms" in label
    # Bars lie within their rows.
    inside = """box => [...box.querySelectorAll(".span")].every((span) => {
        const [a, b] = [span.getBoundingClientRect(), span.parentElement.getBoundingClientRect()];
        return a.left >= b.left - 1 && a.right <= b.right + 4 && a.bottom <= b.bottom + 1;
    })"""
    assert spread.locator(".gantt").evaluate(inside)
    spread.locator("summary").press("Enter")
    rows = spread.locator("tbody tr")
    expect(rows.first).to_be_visible()
    items = sum(int(row.locator("td").nth(1).inner_text()) for row in rows.all() if "ok" in row.inner_text() or "first" in row.inner_text())
    assert items == len(MANY)
    expect(page.locator("#times-tiles")).to_contain_text("p99")
    expect(page.locator("#times-fleet")).to_contain_text("chunks")
    expect(page.locator("#cost-chart svg")).to_be_visible()
    if page.locator("#cost-model-field").is_visible():
        page.locator("#cost-model").select_option("reranker")
    expect(page.locator("#cost-legend li")).to_have_count(SERVERS)
    # What is open stays open while the page goes on, and pausing holds it.
    page.locator("#jobs-pause").click()
    expect(page.locator("#jobs-pause")).to_have_attribute("aria-pressed", "true")
    before = page.locator("#jobs-list > li").count()
    total = page.locator("#uptime").inner_text()
    fleet.post("rerank", {"model": "reranker", "query": QUERY, "texts": DOCUMENTS})
    expect(page.locator("#uptime")).not_to_have_text(total)
    assert page.locator("#jobs-list > li").count() == before
    assert spread.locator("details").evaluate("details => details.open")
    page.locator("#jobs-pause").click()
    shot(page, "fleet")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_it_fits_and_is_readable(fleet: Fleet, visit: Visit, shot: Shot, scheme: str, width: int) -> None:
    work(fleet)
    page = visit(fleet.url(), color_scheme=scheme, viewport={"width": width, "height": 800})
    expect(page.locator("#jobs-list > li").first).to_be_visible()
    page.locator("#try-run").click()
    ranking(page)
    page.locator("#jobs-list summary").first.press("Enter")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(int(part) for part in re.findall(r"\d+", ground)[:3]) / 3
    assert (light < 60) == (scheme == "dark"), ground
    shot(page, f"{scheme}-{width}")
    axe(page)


def test_without_a_script_it_says_what_is_served(fleet: Fleet, visit: Visit, shot: Shot) -> None:
    page = visit(fleet.url(), java_script_enabled=False, viewport={"width": 360, "height": 800})
    text = page.inner_text("body")
    for word in ["sortie-gateway", "ready", "reranker", "minilm", "embeddings", "3 servers", "need JavaScript"]:
        assert word in text, text
    assert re.search(r"\d+\.\d+\.\d+", text), "its version"
    for id in ["try", "servers", "cost", "jobs", "times"]:
        expect(page.locator(f"#{id}")).to_be_hidden()
    shot(page, "no-script")


def test_with_keys_the_browsers_own_question_is_enough(fleet: Fleet, visit: Visit) -> None:
    url = fleet.url(fleet.closed)
    for path in ["", "page/state.json", "page/page.js"]:
        request = urllib.request.Request(url + path, headers={"accept": "text/html"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        assert refused.value.code == 401
    page = visit(url, http_credentials={"username": "any", "password": KEY})
    expect(page.locator("#try")).to_be_visible()
    page.locator("#try-run").click()
    assert len(ranking(page)) == 5


def test_a_visitor_sees_nothing_of_what_another_wrote(fleet: Fleet, visit: Visit) -> None:
    secret = "quagga-4711"
    writer = visit(fleet.url())
    writer.locator("#try-first").fill(f"what is a {secret}?")
    writer.locator("#try-lines").fill(f"{secret} is a secret\nanother {secret}")
    writer.locator("#try-run").click()
    assert len(ranking(writer)) == 2
    for url in [fleet.url(), fleet.url(port="admin"), *(fleet.url(server, port) for server in fleet.servers for port in ("http", "admin"))]:
        reader = visit(url)
        expect(reader.locator("#jobs-list > li").first).to_be_visible()
        told = reader.evaluate("fetch('page/state.json').then((answer) => answer.text())")
        assert json.loads(told)["jobs"], url
        assert "quagga" not in told and "quagga" not in reader.content()
        assert not reader.evaluate("window.violations")
        reader.context.close()
    # Nor does it stay with the writer.
    writer.reload()
    assert "quagga" not in writer.locator("#try-lines").input_value()


def test_a_servers_own_page_and_the_admin_port(fleet: Fleet, visit: Visit, shot: Shot) -> None:
    work(fleet)
    server = visit(fleet.url(fleet.servers[0]), viewport={"width": 1280, "height": 800})
    expect(server.locator("h1")).to_have_text("sortie-server")
    expect(server.locator("#servers-title")).to_have_text("Load")
    expect(server.locator("#servers-list > li").first).to_contain_text("reranker")
    expect(server.locator("#cost-legend li").first).to_contain_text("a token")
    expect(server.locator("#jobs-list > li").first.locator(".compute").first).to_be_visible()
    server.locator("#try-run").click()
    ranking(server)
    shot(server, "server")
    admin = visit(fleet.url(port="admin"))
    expect(admin.locator("#servers-list > li")).to_have_count(SERVERS)
    expect(admin.locator("#jobs-list > li").first).to_be_visible()
    assert admin.locator("#try").count() == 0
    shot(admin, "admin")


def test_a_door_that_is_gone_is_told(fleet: Fleet, browser: object, shot: Shot) -> None:
    page = browser.new_context(viewport={"width": 360, "height": 640}).new_page()  # type: ignore[attr-defined]
    page.goto(fleet.url())
    expect(page.locator("#try")).to_be_visible()
    page.context.set_offline(True)
    expect(page.locator("#status")).to_have_text("no answer")
    page.locator("#try-run").click()
    expect(page.locator("#try-answer").get_by_role("alert")).to_have_text("there was no answer")
    page.context.set_offline(False)
    expect(page.locator("#status")).to_have_text("ready")
    page.context.close()
