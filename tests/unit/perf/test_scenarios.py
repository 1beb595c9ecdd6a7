"""Scenario files: what they say, and one clear line where they cannot be used."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from robot_sf_otel.perf import scenarios
from robot_sf_otel.perf.worker import resolve

ROOT = Path(__file__).parents[3]


def load(tmp_path: Path, text: str) -> scenarios.Scenario:
    path = tmp_path / "speed.toml"
    path.write_text(text, encoding="utf-8")
    return scenarios.load(path)


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(scenarios.ScenarioError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"scenario {tmp_path / 'speed.toml'}: ")
    return message.partition(".toml: ")[2]


@pytest.mark.parametrize("name", scenarios.builtin_names())
def test_a_built_in_scenario_is_sound_and_calls_what_exists(name: str) -> None:
    scenario = scenarios.load(scenarios.find(name))

    assert scenario.name == name
    assert scenario.call is not None
    assert callable(resolve(scenario.call))


def test_those_of_the_specification_are_built_in() -> None:
    assert {"minimal", "tracker-overhead"} <= set(scenarios.builtin_names())


def test_the_name_is_the_files_unless_given(tmp_path: Path) -> None:
    assert load(tmp_path, 'call = "m:f"').name == "speed"
    assert load(tmp_path, 'name = "x"\ncall = "m:f"').name == "x"


def test_every_combination_of_the_matrix_is_a_test(tmp_path: Path) -> None:
    scenario = load(
        tmp_path,
        """
        command = ["train", "--envs={envs}", "--fast", "{fast}", "--seed={seed}", "{"]
        params = { seed = 1 }
        matrix = { envs = [1, 4], fast = [true] }
        """,
    )

    first, second = scenario.cases()

    assert first.test_id == "speed[envs=1,fast=true]"
    assert second.matrix == {"envs": 4, "fast": True}
    assert second.params == {"seed": 1, "envs": 4, "fast": True}
    assert second.command() == ["train", "--envs=4", "--fast", "true", "--seed=1", "{"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('call = "m:f"\nrepetition = 3', "unknown key 'repetition'; there is repetitions"),
        ('call = "m:f"\nwarmup = "two"', "warmup: expected `int`, got `str`"),
        ('call = "m:f"\nrepetitions = 1', "repetitions: expected `int` >= 2"),
        ('call = "m:f"\ntolerance = 1.5', "tolerance: expected `float` < 1.0"),
        ('call = "m:f"\n[matrix]\nenvs = []', "matrix[...]: expected `array` of length >= 1"),
        ('call = "f"', "call: 'f' is not of the form module:function"),
        ('call = "m:f"\ncommand = ["x"]', "it needs either `call` or `command`"),
        ("warmup = 1", "it needs either `call` or `command`"),
        (
            'call = "m:f"\nmetric = "fps"',
            "metric: 'fps' is none of advance, wall, cpu, logged:NAME",
        ),
        ('call = "m:f"\nmetric = "logged:"', "metric: 'logged:' is none of"),
        ('call = "m:f"\nparams = {a = 1}\nmatrix = {a = [1]}', "'a' is in both"),
        ('command = ["x", "{n}"]', "command: {n} is no parameter"),
        ("call = ", "no TOML: "),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(tmp_path, text)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(scenarios.ScenarioError, match="No such file"):
        scenarios.load(tmp_path / "none.toml")
    with pytest.raises(scenarios.ScenarioError, match="built in are minimal"):
        scenarios.find("minmal")


def test_the_number_of_resets_is_for_scenarios_that_have_it(tmp_path: Path) -> None:
    minimal = scenarios.with_resets(scenarios.load(scenarios.find("minimal")), 7)

    assert minimal.params["resets"] == 7
    with pytest.raises(scenarios.ScenarioError, match="no parameter `resets`"):
        scenarios.with_resets(load(tmp_path, 'call = "m:f"'), 7)


def test_the_reference_page_names_every_key_with_its_default() -> None:
    page = (ROOT / "docs/reference/scenario-file.md").read_text(encoding="utf-8")
    page = page.partition("## Built in")[0]
    rows = {
        line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("| `")
    }

    assert list(rows) == [f"`{one.name}`" for one in msgspec.structs.fields(scenarios.Scenario)]
    for one in msgspec.structs.fields(scenarios.Scenario):
        if isinstance(one.default, int | float | str):
            assert f"| `{str(one.default).lower()}` |" in rows[f"`{one.name}`"]
