"""The names that are written out in `semconv` are those of the installed conventions package."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final, get_args

import pytest
from opentelemetry.semconv._incubating.attributes import (
    cicd_attributes,
    cpu_attributes,
    disk_attributes,
    host_attributes,
    hw_attributes,
    process_attributes,
    service_attributes,
    system_attributes,
)
from opentelemetry.semconv.attributes import error_attributes

from robot_sf_otel import semconv
from robot_sf_otel.semconv.instruments import INSTRUMENTS, WRITTEN, Instrument, Kind

if TYPE_CHECKING:
    import enum

CONVENTIONAL: Final = {
    "PIPELINE_NAME": cicd_attributes.CICD_PIPELINE_NAME,
    "PIPELINE_ACTION_NAME": cicd_attributes.CICD_PIPELINE_ACTION_NAME,
    "PIPELINE_RESULT": cicd_attributes.CICD_PIPELINE_RESULT,
    "PIPELINE_RUN_ID": cicd_attributes.CICD_PIPELINE_RUN_ID,
    "PIPELINE_RUN_URL": cicd_attributes.CICD_PIPELINE_RUN_URL_FULL,
    "TASK_NAME": cicd_attributes.CICD_PIPELINE_TASK_NAME,
    "TASK_RUN_ID": cicd_attributes.CICD_PIPELINE_TASK_RUN_ID,
    "TASK_RUN_RESULT": cicd_attributes.CICD_PIPELINE_TASK_RUN_RESULT,
    "TASK_RUN_URL": cicd_attributes.CICD_PIPELINE_TASK_RUN_URL_FULL,
    "ERROR_TYPE": error_attributes.ERROR_TYPE,
    "SERVICE_NAME_KEY": service_attributes.SERVICE_NAME,
    "SERVICE_INSTANCE_ID": service_attributes.SERVICE_INSTANCE_ID,
    "HOST_NAME": host_attributes.HOST_NAME,
    "PROCESS_PID": process_attributes.PROCESS_PID,
    "WORKER_ID": cicd_attributes.CICD_WORKER_ID,
    "WORKER_NAME": cicd_attributes.CICD_WORKER_NAME,
    "RUN_STATE": cicd_attributes.CICD_PIPELINE_RUN_STATE,
    "CPU_MODE": cpu_attributes.CPU_MODE,
    "DISK_DIRECTION": disk_attributes.DISK_IO_DIRECTION,
    "PAGING_STATE": system_attributes.SYSTEM_PAGING_STATE,
    "HW_ID": hw_attributes.HW_ID,
    "HW_NAME": hw_attributes.HW_NAME,
    "HW_TYPE": hw_attributes.HW_TYPE,
    "GPU_TASK": hw_attributes.HW_GPU_TASK,
}
OUR_OWN: Final = {"SERVICE_NAME", "SCOPE"}


def constants() -> dict[str, Any]:
    return {
        name: value for name, value in vars(semconv).items() if name.isupper() and name[0] != "_"
    }


@pytest.mark.parametrize("name", sorted(CONVENTIONAL))
def test_attribute_is_the_conventions(name: str) -> None:
    assert getattr(semconv, name) == CONVENTIONAL[name]


def test_attribute_without_a_convention_lies_under_our_own_prefix() -> None:
    others = set(constants()) - set(CONVENTIONAL) - OUR_OWN
    assert others
    assert {name for name in others if not getattr(semconv, name).startswith("robot_sf.")} == set()


def test_results_are_those_of_runs_and_tasks() -> None:
    runs = {value.value for value in cicd_attributes.CicdPipelineResultValues}
    tasks = {value.value for value in cicd_attributes.CicdPipelineTaskRunResultValues}
    assert set(get_args(semconv.Result)) == runs | tasks


class Drawing:
    """Takes the place of a meter and keeps what is asked of it."""

    def __init__(self) -> None:
        self.kind = ""
        self.unit = ""

    def __getattr__(self, method: str) -> Any:  # noqa: ANN401 - any create_… method
        def create(name: str, *_: object, unit: str = "", **__: object) -> None:
            self.kind = method.removeprefix("create_").removeprefix("observable_").replace("_", "")
            self.unit = unit

        return create


def convention(name: str) -> tuple[str, str]:
    """Return kind and unit of an instrument in the conventions.

    Raises:
        AttributeError: The conventions have no such instrument.
    """
    area = {"hw": "hw_metrics"}.get(
        name.split(".", maxsplit=1)[0], f"{name.split('.', maxsplit=1)[0]}_metrics"
    )
    module = importlib.import_module(f"opentelemetry.semconv._incubating.metrics.{area}")
    drawing = Drawing()
    create = getattr(module, f"create_{name.replace('.', '_')}")
    try:
        create(drawing)
    except TypeError:  # an asynchronous gauge takes callbacks
        create(drawing, [])
    return drawing.kind, drawing.unit


EVERY_INSTRUMENT: Final = (*INSTRUMENTS, *WRITTEN)
CONVENTIONAL_INSTRUMENTS: Final = [
    instrument for instrument in EVERY_INSTRUMENT if not instrument.name.startswith("robot_sf.")
]


@pytest.mark.parametrize("instrument", CONVENTIONAL_INSTRUMENTS, ids=lambda one: one.name)
def test_instrument_has_the_kind_and_unit_of_the_convention(instrument: Instrument) -> None:
    assert (instrument.kind, instrument.unit) == convention(instrument.name)


@pytest.mark.parametrize(
    ("values", "ours"),
    [
        (cicd_attributes.CicdPipelineRunStateValues, ["executing", "finalizing"]),
        (cpu_attributes.CpuModeValues, ["user", "system"]),
        (system_attributes.SystemPagingStateValues, ["used", "free"]),
        (disk_attributes.DiskIoDirectionValues, ["read", "write"]),
        (hw_attributes.HwTypeValues, ["gpu"]),
        (hw_attributes.HwGpuTaskValues, ["general"]),
    ],
)
def test_values_of_attributes_are_the_conventions(values: type[enum.Enum], ours: list[str]) -> None:
    assert set(ours) <= {value.value for value in values}


def test_table_of_instruments_is_consistent() -> None:
    names = [instrument.name for instrument in EVERY_INSTRUMENT]
    readings = [instrument.reading for instrument in INSTRUMENTS]
    assert len(set(names)) == len(names)
    assert len(set(readings)) == len(readings)
    assert CONVENTIONAL_INSTRUMENTS
    for instrument in EVERY_INSTRUMENT:
        assert instrument.kind in get_args(Kind)
        assert instrument.unit
        assert instrument.description.endswith(".")
        assert instrument.source
        assert instrument.absent


def test_utilization_is_a_gauge_between_0_and_1() -> None:
    found = [i for i in EVERY_INSTRUMENT if i.name.endswith("utilization")]
    assert found
    assert {(i.kind, i.unit) for i in found} == {("gauge", "1")}
