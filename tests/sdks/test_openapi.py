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

UNLIKELY: set[str] = set()
"""Routes of which no request at random is right: it would have to hit a name, or two fields that go together."""


def plain(case: Any, model: str) -> None:
    """Makes a request of a made-up one that may well be right: a model that there is, and no rare field."""
    if isinstance(case.query, dict) and "model" in case.query:
        case.query["model"] = model
    for body in case.body.get("instances", [case.body]) if isinstance(case.body, dict) else []:
        if isinstance(body, dict):
            for field in [field for field in body if field not in PLAIN]:
                del body[field]
            if "texts" in body and "documents" in body:
                del body["documents"]
            if case.operation.path not in NAMELESS:
                body["model"] = model


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_is_too_much(doors: Doors, kind: str, mode: GenerationMode) -> None:
    document = schemathesis.openapi.from_url(f"{doors.of(kind, *ALL).url}/openapi.json")
    found: list[str] = []
    asked: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    for operation in document.get_all_operations():
        route = operation.ok()
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
            if mode is GenerationMode.POSITIVE and asked[route.label] % 2:
                plain(case, ALL[asked[route.label] // 2 % len(ALL)])
            answer = case.call_and_validate(checks=HELD, timeout=60)
            answered[route.label] += answer.status_code < 300

        try:
            ask()
        except Exception as error:  # Each route has its say.
            found.append(f"{route.label}: {error}")
    assert not found, "\n\n".join(found)
    # Else nothing was found because nothing was reached.
    unanswered = [label for label in asked if not answered[label]]
    print(f"{kind}, {mode.value}: {asked.total()} requests, {answered.total()} answered, of {unanswered} none")
    if mode is GenerationMode.POSITIVE:
        assert set(unanswered) <= UNLIKELY
