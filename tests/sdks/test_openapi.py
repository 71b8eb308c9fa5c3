"""What a machine finds that knows nothing but the OpenAPI document: every route asked at random, by schemathesis, with
bodies that are as described and with such as are not."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode, checks
from support import ALL, Doors

EXAMPLES = int(os.environ.get("SORTIE_EXAMPLES", "30"))
"""Requests of each kind and route."""

checks.load_all_checks()
HELD = checks.CHECKS.get_by_names(
    ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
)
"""What every answer must be."""

PLAIN: dict[str, Any] = {
    "query": "w49 w251",
    "texts": ["w7", "w20 w21"],
    "documents": ["w7", "w20 w21"],
    "inputs": "w7 w20",
    "input": ["w7", "w20 w21"],
    "ids": [2, 7, 3],
    "text": "w7",
    "text_1": "w49",
    "text_2": ["w7", "w20"],
    "input_type": None,
}
"""Fields of which a plain request is made, and what stands in them where nothing usable was made up."""

NAMELESS = {"/weaviate/rerank", "/weaviate/vectors"}
"""Routes whose bodies name no model: they take the only one of their task."""

BY_MODEL = {"/", "/invocations", "/vertex"}
"""Routes whose bodies are what the model makes of them."""

UNLIKELY = {"GET /v1/models/{model}"}
"""Routes of which no request at random is right: it would have to hit a name."""


def usable(value: Any) -> bool:
    """Whether a value is text, or a list of text."""
    return bool(value) and all(isinstance(one, str) for one in (value if isinstance(value, list) else [value]))


def plain(case: Any, fields: set[str], model: str) -> None:
    """Makes a request of a made-up one that may well be right: a model that there is, and no rare field. `fields` are
    those that the route was seen to have."""
    if case.operation.query:
        case.query = {**(case.query or {}), "model": model}
    if not isinstance(case.body, dict):
        return
    if case.operation.path in BY_MODEL:
        body = {"inputs": "w7", "query": "w49", "texts": ["w7"], "model": model}
        case.body = {"instances": [body]} if case.operation.path == "/vertex" else body
        return
    # Of fields that stand for one another the first: `text_1` and `text_2` are all of a pair.
    given = {field: value for field, value in case.body.items() if field in PLAIN}
    others = {"query", "texts", "documents"} if "text_1" in fields else {"documents"} if "texts" in given else set()
    if "documents" in fields and not others:
        others = {"texts"}
    given = {field: value for field, value in given.items() if field not in others}
    wanted = fields & PLAIN.keys() - others
    for field in wanted:
        if not usable(given.get(field)):
            given[field] = PLAIN[field]
    case.body = given if case.operation.path in NAMELESS else {**given, "model": model}


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_is_too_much(doors: Doors, kind: str, mode: GenerationMode) -> None:
    document = schemathesis.openapi.from_url(f"{doors.of(kind, *ALL).url}/openapi.json")
    found: list[str] = []
    asked: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    for operation in document.get_all_operations():
        route = operation.ok()
        fields: set[str] = set()
        if mode is GenerationMode.NEGATIVE and not (route.body or route.query):
            # Nothing of it can be other than described.
            continue

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        @given(case=route.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            asked[route.label] += 1
            if isinstance(case.body, dict):
                fields.update(case.body)
            if mode is GenerationMode.POSITIVE and asked[route.label] % 2:
                plain(case, fields, ALL[asked[route.label] // 2 % len(ALL)])
            answer = case.call_and_validate(checks=HELD, timeout=60)
            answered[route.label] += answer.status_code < 300

        try:
            ask()
        except (Exception, BaseExceptionGroup) as error:  # Each route has its say.
            found.append(f"{route.label}: {error}")
    unanswered = [label for label in asked if not answered[label]]
    print(f"{kind}, {mode.value}: {asked.total()} requests, {answered.total()} answered, of {unanswered} none")
    assert not found, "\n\n".join(found)
    # Else nothing was found because nothing was reached.
    if mode is GenerationMode.POSITIVE:
        assert set(unanswered) <= UNLIKELY
