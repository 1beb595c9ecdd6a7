"""What CUDA_VISIBLE_DEVICES shows, as a table and as properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel.system_metrics.gpu_devices import (
    Gpu,
    Instance,
    Visible,
    entries,
    order_matters,
    select,
)

H100 = "NVIDIA H100 80GB HBM3"


def gpu(index: int, uuid: str | None = None, *instances: Instance, name: str = H100) -> Gpu:
    return Gpu(
        nvml_index=index, uuid=uuid, name=name, mig=bool(instances), instances=tuple(instances)
    )


def instance(uuid: str, gpu_instance: int, compute_instance: int = 0) -> Instance:
    return Instance(
        uuid=uuid, gpu_instance=gpu_instance, compute_instance=compute_instance, name="MIG 1g.10gb"
    )


WHOLE = (gpu(0, "GPU-ab12-0"), gpu(1, "GPU-ab34-1"), gpu(2, "GPU-cd56-2"), gpu(3, "GPU-cd56-3"))
SLICED = (
    gpu(0, "GPU-ab12-0", instance("MIG-11aa", 1), instance("MIG-22bb", 2)),
    gpu(1, "GPU-ab34-1"),
    gpu(2, "GPU-cd56-2", instance("MIG-33cc", 7), instance("MIG-44dd", 7, 1)),
)


def shown(value: str | None, gpus: tuple[Gpu, ...] = WHOLE, driver: int | None = 580) -> list[str]:
    return [device.uuid or "?" for device in select(entries(value), gpus, driver)]


def indices(value: str | None) -> list[int]:
    return [device.gpu.nvml_index for device in select(entries(value), WHOLE, 580)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(None, [0, 1, 2, 3], id="not set: all"),
        pytest.param("", [], id="empty: none"),
        pytest.param("-1", [], id="-1: none"),
        pytest.param("NoDevFiles", [], id="what Slurm sets without GPUs"),
        pytest.param("2,0", [2, 0], id="the order of the list"),
        pytest.param(" 1 , 2 ", [1, 2], id="spaces"),
        pytest.param("0,2,-1,1", [0, 2], id="what follows -1 is hidden"),
        pytest.param("0,9,1", [0], id="what follows an index that does not exist is hidden"),
        pytest.param("0,,1", [0], id="what follows nothing is hidden"),
        pytest.param("1gpu2,2ampere", [1, 2], id="digits count, as in strtoul"),
        pytest.param("+1", [1], id="a sign"),
        pytest.param("1,1", [], id="twice the same: none"),
        pytest.param("1,01", [], id="twice the same, written otherwise"),
        pytest.param("²", [], id="other digits than ASCII"),
        pytest.param("99999999999999999999", [], id="a number beyond all"),
        pytest.param("GPU-cd56-3,GPU-ab12-0", [3, 0], id="UUIDs"),
        pytest.param("GPU-ab1", [0], id="the beginning of a UUID"),
        pytest.param("GPU-ab12-0,GPU-cd56", [0], id="a beginning of two is none of them"),
        pytest.param("GPU-ab1,GPU-ab12-0", [], id="twice the same by other names"),
        pytest.param("GPU-ab1,1", [0], id="an index among UUIDs"),
        pytest.param("1,GPU-ab1", [1], id="a UUID among indices"),
        pytest.param("MIG-11aa", [], id="an instance that does not exist"),
        pytest.param("gpu-ab12-0", [], id="lower case"),
    ],
)
def test_whole_gpus(value: str | None, expected: list[int]) -> None:
    assert indices(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(None, ["MIG-11aa", "MIG-22bb", "GPU-ab34-1", "MIG-33cc"], id="not set"),
        pytest.param("0", ["MIG-11aa", "MIG-22bb"], id="an index of a GPU in MIG mode"),
        pytest.param("1,2", ["GPU-ab34-1", "MIG-33cc"], id="mixed"),
        pytest.param("GPU-cd", ["MIG-33cc"], id="the UUID of a GPU in MIG mode"),
        pytest.param("MIG-22bb", ["MIG-22bb"], id="an instance"),
        pytest.param("MIG-22bb,MIG-11aa", ["MIG-22bb", "MIG-11aa"], id="two instances"),
        pytest.param("MIG-44dd,MIG-33cc", ["MIG-44dd"], id="one for each GPU instance"),
        pytest.param("MIG-11aa,MIG-99,MIG-22bb", ["MIG-11aa"], id="what follows an unknown one"),
        pytest.param("MIG-11aa,MIG-11aa", [], id="twice the same"),
        pytest.param("MIG-GPU-ab12-0/2/0", ["MIG-22bb"], id="the form before R470"),
        pytest.param("MIG-GPU-cd56-2/7/1", ["MIG-44dd"], id="the second compute instance"),
        pytest.param("MIG-GPU-ab12-0/5/0", [], id="numbers that do not exist"),
        pytest.param("MIG-GPU-ab/1/0", [], id="the beginning of two GPUs"),
        pytest.param("MIG-11aa,GPU-ab34-1", ["MIG-11aa"], id="a GPU among instances"),
    ],
)
def test_mig_instances(value: str | None, expected: list[str]) -> None:
    assert shown(value, SLICED) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ["MIG-11aa"]),
        ("1,0", ["MIG-11aa"]),
        ("MIG-22bb,MIG-11aa", ["MIG-22bb"]),
        ("1", ["GPU-ab34-1"]),
    ],
)
def test_drivers_before_r570_show_one_instance_and_no_gpu_beside_it(
    value: str | None, expected: list[str]
) -> None:
    assert shown(value, SLICED, 535) == expected
    assert len(shown(None, SLICED, None)) == 4, "a driver that does not tell is a present one"


def test_a_gpu_in_mig_mode_without_instances_is_no_device() -> None:
    empty = Gpu(nvml_index=0, uuid="GPU-0", mig=True)

    assert shown(None, (empty, WHOLE[1])) == ["GPU-ab34-1"]


def test_an_index_counts_among_the_gpus_that_can_be_opened() -> None:
    assert [d.gpu.nvml_index for d in select((1,), (WHOLE[0], WHOLE[3]))] == [3]


def test_a_gpu_without_uuid_is_found_by_index_alone() -> None:
    unknown = (gpu(0), gpu(1))

    assert select((1,), unknown) == (Visible(unknown[1]),)
    assert select(("GPU-ab",), unknown) == ()


def test_an_instance_has_the_name_of_its_gpu_if_it_has_none() -> None:
    named = SLICED[0].instances[0]

    assert Visible(SLICED[0], named).name == "MIG 1g.10gb"
    assert Visible(SLICED[0], Instance(uuid="MIG-1")).name == H100
    assert Visible(WHOLE[0]).name == H100


def test_the_order_matters_for_indices_of_different_models() -> None:
    mixed = (gpu(0, "GPU-0", name="T4"), gpu(1, "GPU-1"))

    assert order_matters(None, mixed, None)
    assert order_matters((1,), mixed, "FASTEST_FIRST")
    assert not order_matters((1,), mixed, "PCI_BUS_ID")
    assert not order_matters(("GPU-1",), mixed, None)
    assert not order_matters((1,), WHOLE, None)


VALUES = st.one_of(
    st.none(),
    st.text(),
    st.lists(
        st.one_of(
            st.integers(-2, 5).map(str),
            st.sampled_from(
                ["GPU-ab12-0", "GPU-ab", "GPU-cd56-3", "GPU-", "MIG-11aa", "MIG-", "", " 1x"]
            ),
            st.text(max_size=4),
        )
    ).map(",".join),
)


@given(value=VALUES, driver=st.sampled_from([None, 470, 580]))
@pytest.mark.parametrize("gpus", [WHOLE, SLICED, ()], ids=["whole", "sliced", "none"])
def test_any_value_shows_devices_of_this_machine_each_once(
    gpus: tuple[Gpu, ...], value: str | None, driver: int | None
) -> None:
    devices = select(entries(value), gpus, driver)

    assert all(device.gpu in gpus for device in devices)
    assert all(
        device.instance in device.gpu.instances if device.gpu.mig else device.instance is None
        for device in devices
    )
    assert len({device.uuid for device in devices}) == len(devices)


@given(st.permutations(range(4)), st.integers(0, 4), st.text(alphabet="xyz-,"))
def test_distinct_indices_are_shown_in_their_order_whatever_follows(
    order: list[int], count: int, rest: str
) -> None:
    listed = order[:count]
    value = ",".join([*map(str, listed), "-1", rest])

    assert indices(value) == listed


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_uuids_and_indices_of_the_same_gpus_show_the_same(listed: list[int]) -> None:
    by_index = ",".join(map(str, listed))
    by_uuid = ",".join(str(WHOLE[index].uuid) for index in listed)

    assert indices(by_uuid) == indices(by_index)
    assert bool(indices(by_index)) == (len(set(listed)) == len(listed))
