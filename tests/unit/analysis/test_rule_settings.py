"""Thresholds: defaults, a TOML file, and one clear line for each mistake."""

from __future__ import annotations

import pytest

from robot_sf_otel.analysis.rule_settings import Evaluation, RulesError, RuleSettings, parse_rules
from robot_sf_otel.analysis.rules import BUILT_IN
from robot_sf_otel.analysis.rules.cpu import CpuSaturationThresholds

SPECIFIED = {
    "throughput_drop",
    "cpu_saturation",
    "single_core_bound",
    "cpu_throttled",
    "noisy_neighbour",
    "memory_pressure",
    "memory_growth",
    "swap_thrashing",
    "io_bound",
    "gpu_unused",
    "gpu_starved",
    "gpu_memory_pressure",
    "gpu_throttled",
    "step_slower_than_history",
    "stalled",
    "disk_space_low",
    "telemetry_overhead",
    "baseline_missing",
}


def test_the_rules_are_those_of_the_specification() -> None:
    assert {rule.id for rule in BUILT_IN} == SPECIFIED
    assert len(BUILT_IN) == len(SPECIFIED)


def test_without_a_file_all_thresholds_are_defaults() -> None:
    assert parse_rules("") == RuleSettings()


def test_a_file_changes_what_it_names_and_nothing_else() -> None:
    chosen = parse_rules(
        "[cpu_saturation]\nbusy_percent = 95\n[evaluation]\nframe_seconds = 2.5\n"
        "[gpu_starved]\nenabled = false"
    )

    assert chosen.thresholds("cpu_saturation") == CpuSaturationThresholds(busy_percent=95.0)
    assert chosen.evaluation == Evaluation(frame_seconds=2.5)
    assert not chosen.thresholds("gpu_starved").enabled
    assert chosen.thresholds("io_bound") == RuleSettings().thresholds("io_bound")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[cpu_saturatoin]", "there is no rule 'cpu_saturatoin': did you mean cpu_saturation"),
        ("[zzz]", "there is no rule 'zzz'"),
        (
            "[cpu_saturation]\nbusy_procent = 1",
            "cpu_saturation has no threshold 'busy_procent': did you mean busy_percent",
        ),
        (
            "[cpu_saturation]\nbusy_percent = 'x'",
            "cpu_saturation.busy_percent = 'x': expected `float`, got `str`",
        ),
        (
            "[cpu_saturation]\nbusy_percent = 101",
            "cpu_saturation.busy_percent = 101: expected `float` <= 100.0",
        ),
        ("[cpu_saturation]\nenabled = 1", "cpu_saturation.enabled = 1: expected `bool`, got `int`"),
        ("[stalled]\ntimes = nan", "stalled.times = nan is not a finite number"),
        ("cpu_saturation = false", "cpu_saturation is not a table: write [cpu_saturation]"),
        ("[[cpu_saturation]]", "cpu_saturation is not a table"),
        ("nonsense", "no TOML: "),
    ],
)
def test_a_mistake_is_named_in_one_line(text: str, said: str) -> None:
    with pytest.raises(RulesError) as raised:
        parse_rules(text)

    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)
