"""What the type checkers see of the public API is what happens, here with telemetry off."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import get_type_hints

import pytest

from tests.typing import api


def test_decorated_functions_return_what_their_bodies_return() -> None:
    assert api.collect_expert(3, seed=7) == Path("7")
    assert api.main() == len(str(Path("1")))
    assert api.plain(2) == "xx"
    assert api.Trainer().train(4) == 2
    assert api.Trainer().validate()
    assert api.Trainer.version() == "1"


def test_async_steps_are_awaited() -> None:
    assert asyncio.run(api.fetch_all(["ab", "c"])) == 3


def test_a_decorated_function_keeps_its_name_signature_and_annotations() -> None:
    assert api.collect_expert.__name__ == "collect_expert"
    assert str(inspect.signature(api.collect_expert)) == (
        "(episodes: 'int', *, seed: 'int' = 0) -> 'Path'"
    )
    assert get_type_hints(api.collect_expert)["return"] is Path


def test_inert_handles_take_every_call_and_leave_no_record(tmp_path: Path) -> None:
    api.declared()
    api.signatures()
    api.blocks()
    api.runs()

    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_the_declaration_is_an_error_also_with_telemetry_off() -> None:
    with pytest.raises(TypeError):
        api.mistakes()
