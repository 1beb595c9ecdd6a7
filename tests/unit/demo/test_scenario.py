"""The scenario file: what is shipped is right, and what is wrong is said in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from robot_sf_otel.demo.errors import DemoError
from robot_sf_otel.demo.scenario import DEFAULT_SCENARIO, load_scenario

if TYPE_CHECKING:
    from pathlib import Path


def test_the_scenario_that_comes_with_the_package_is_valid() -> None:
    scenario = load_scenario(DEFAULT_SCENARIO)

    assert scenario.environment == "Pendulum-v1"
    quick, full = scenario.quick, scenario.full
    assert quick.train_expert.iterations < full.train_expert.iterations
    assert full.finetune.value_warmup < full.finetune.iterations


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("seed = 4", 'seed = "one"', "Expected `int`, got `str` - at `$.seed`"),
        ("seed = 4", "seed = -1", "Expected `int` >= 0 - at `$.seed`"),
        ("seed = 4", "", "missing required field `seed`"),
        ("seed = 4", "sed = 1\nseed = 4", "unknown field `sed`"),
        ("iterations = 50", "iterations = 0", "`$.quick.train_expert.iterations`"),
        ("discount = 0.97", "discount = 1.5", "`$.quick.finetune.discount`"),
        ("hidden_layers = [32, 32]", "hidden_layers = []", "`$.hidden_layers`"),
        ("seed = 4", "seed = ", "Invalid value"),
    ],
)
def test_a_bad_value_is_named_with_its_file_in_one_line(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    text = DEFAULT_SCENARIO.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(DemoError) as caught:
        load_scenario(path)

    assert str(path) in str(caught.value)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=r"scenario file '.*nowhere\.toml': No such file"):
        load_scenario(tmp_path / "nowhere.toml")


def test_a_folder_is_no_scenario(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="Is a directory"):
        load_scenario(tmp_path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.toml"
    path.write_bytes(b"\x89PNG\xff")

    with pytest.raises(DemoError, match="not UTF-8"):
        load_scenario(path)
