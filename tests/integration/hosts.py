"""Hosts of a test's own on this machine: network namespaces, each with a name and an address."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Host:
    """A host: what a command line begins with to run there, its name and its address."""

    prefix: tuple[str, ...]
    name: str
    address: str


@contextmanager
def hosts(number: int) -> Generator[list[Host]]:
    """Make hosts that reach each other and nothing else; skips the test where that cannot be.

    Args:
        number: How many, at most 8.
    """
    if sys.platform != "linux" or shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("no network namespaces: ip (iproute2) or unshare is missing")
    token = secrets.token_hex(3)
    switch = f"sw{token}"
    with ExitStack() as stack:
        made: list[Host] = []
        try:
            _ip("netns", "add", switch)
            stack.callback(_ip, "netns", "delete", switch)
            _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
            _ip("-n", switch, "link", "set", "bridge", "up")
            made += [
                _join(stack, switch, f"host-{place}", f"{token}{place}", place)
                for place in range(number)
            ]
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces can be made here: {error.stderr.strip()}")
        yield made


def _join(stack: ExitStack, switch: str, name: str, token: str, place: int) -> Host:
    """Make a host and plug it into the switch."""
    space, address = f"ns{token}", f"10.213.57.{place + 1}"
    _ip("netns", "add", space)
    stack.callback(_ip, "netns", "delete", space)
    _ip(
        "link",
        "add",
        f"v{token}",
        "netns",
        space,
        "type",
        "veth",
        "peer",
        f"p{token}",
        "netns",
        switch,
    )
    _ip("-n", switch, "link", "set", f"p{token}", "master", "bridge", "up")
    _ip("-n", space, "address", "add", f"{address}/24", "dev", f"v{token}")
    _ip("-n", space, "link", "set", f"v{token}", "up")
    _ip("-n", space, "link", "set", "lo", "up")
    named = ("unshare", "--uts", "sh", "-c", f'hostname {name} && exec "$@"', "sh")
    return Host(("ip", "netns", "exec", space, *named), name, address)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=60)
