"""What of an attribute may leave the machine, with and without the private setting."""

from __future__ import annotations

from typing import Any

import pytest

from robot_sf_otel.redaction import MASK, Outgoing, Redactor
from robot_sf_otel.redaction.outgoing import PRIVATE_NAMES, PRIVATE_PREFIXES, without_paths
from tests.data import redaction_corpus as corpus

SECRETS = corpus.in_context(corpus.Fakes())


@pytest.fixture
def outgoing() -> Outgoing:
    return Outgoing(Redactor())


@pytest.fixture
def private() -> Outgoing:
    return Outgoing(Redactor(), private=True)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[Errno 2] No such file: '/home/me/my x.txt'", "[Errno 2] No such file: '[path]'"),
        ('open("/data/a b") failed', 'open("[path]") failed'),
        ("see /etc/passwd, line 3", "see [path], line 3"),
        ("file:///home/me/run", "[path]"),
        ("~/x and ~me/y", "[path] and [path]"),
        ("./train.sh ../data", "[path] [path]"),
        ("C:\\Users\\me\\f.txt is gone", "[path] is gone"),
        ("\\\\server\\share\\f", "[path]"),
        ("PATH=/usr/bin:/usr/sbin", "PATH=[path]:[path]"),
        ("data:/mnt/x", "data:[path]"),
        ("(/srv/a)", "([path])"),
    ],
)
def test_path_in_text_is_hidden(text: str, shown: str) -> None:
    assert without_paths(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("5 it/s, 3/4 done, 1/2", "and/or", "https://example.org/a/b?c", "s3://bucket/prefix"),
        *("imitation", "a / b", "20260131T120000Z-imitation-1a2b3c", "16:04:05", "x:y", "~3 s"),
    ],
)
def test_text_without_a_path_stays(text: str) -> None:
    assert without_paths(text) == text


def test_commands_messages_and_names_of_users_are_left_out_in_private(private: Outgoing) -> None:
    names = [*PRIVATE_NAMES, *(f"{prefix}x" for prefix in PRIVATE_PREFIXES)]
    assert private.attributes(dict.fromkeys(names, "anything")) == {}


def test_they_are_sent_otherwise(outgoing: Outgoing) -> None:
    names = [*PRIVATE_NAMES, *(f"{prefix}x" for prefix in PRIVATE_PREFIXES)]
    assert set(outgoing.attributes(dict.fromkeys(names, "anything"))) == set(names)


@pytest.mark.parametrize(
    ("scenario", "sent"), [("city", True), ("configs/city.yaml", False), ("a\\b.yaml", False)]
)
def test_scenario_is_sent_in_private_where_it_is_no_path(
    private: Outgoing, scenario: str, *, sent: bool
) -> None:
    assert bool(private.attributes({"robot_sf.run.scenario": scenario})) == sent


def test_required_url_names_only_the_run_in_private(private: Outgoing) -> None:
    url = {"cicd.pipeline.run.url.full": "file:///home/me/output/run-tracker/r-1"}
    assert private.attributes(url) == {"cicd.pipeline.run.url.full": "file:r-1"}


def test_values_that_are_no_text_stay_as_they_are(private: Outgoing) -> None:
    plain: dict[str, Any] = {"robot_sf.step.progress.done": 3, "x": True, "numbers": (1, 2)}
    assert private.attributes(plain) == plain


def test_every_text_of_a_list_is_cleaned(private: Outgoing) -> None:
    tags = private.attributes({"robot_sf.run.tags": ("nightly", "/home/me/x", "token=hunter2x")})
    assert tags == {"robot_sf.run.tags": ["nightly", "[path]", f"token={MASK}"]}


@pytest.mark.parametrize(
    ("kind", "secret", "text"), SECRETS, ids=[f"{i}-{s[0]}" for i, s in enumerate(SECRETS)]
)
def test_no_secret_of_the_corpus_is_sent(
    outgoing: Outgoing, private: Outgoing, kind: str, secret: str, text: str
) -> None:
    for one in (outgoing, private):
        sent = [
            str(one.attributes({"robot_sf.step.title": text, "robot_sf.run.tags": (text,)})),
            one.text(text),
            one.detail(text, "ValueError"),
            one.body("robot_sf.recommendation", text),
        ]
        assert [shown for shown in sent if secret in shown] == [], kind


def test_command_line_of_the_resource_has_no_secrets(outgoing: Outgoing) -> None:
    for kind, secret, argv in corpus.argument_lists(corpus.Fakes()):
        sent = outgoing.attributes({"process.command_args": argv})
        assert secret not in str(sent), kind


def test_of_an_error_only_its_kind_is_said_in_private(
    outgoing: Outgoing, private: Outgoing
) -> None:
    assert outgoing.detail("no such policy", "KeyError") == "no such policy"
    assert private.detail("no such policy", "KeyError") == "KeyError"
    assert private.body("exception", "KeyError: 'x'") == "exception"
    assert private.body("robot_sf.anomaly", "it stalls") == "it stalls"
