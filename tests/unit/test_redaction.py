"""What is masked and what is not; the secrets are put together here so that no scanner trips."""

from __future__ import annotations

import string
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_sf_otel.redaction import MASK, Redactor
from tests.data import redaction_corpus as corpus

ALNUM = (string.ascii_letters + string.digits) * 4
UPPER = (string.ascii_uppercase + string.digits) * 4
KIND = "PRIVATE KEY"
PEM = f"-----BEGIN RSA {KIND}-----\nMIIEow\nIBAAK\n-----END RSA {KIND}-----"

LOOK_SECRET = {
    "aws": "AK" + "IA" + UPPER[:16],
    "aws-session": "AS" + "IA" + UPPER[:16],
    "github": "gh" + "p_" + ALNUM[:36],
    "github-app": "gh" + "s_" + ALNUM[:36],
    "github-fine": "github" + "_pat_" + ALNUM[:22] + "_" + ALNUM[:40],
    "gitlab": "gl" + "pat-" + ALNUM[:20],
    "huggingface": "hf" + "_" + string.ascii_letters[:34],
    "openai": "sk" + "-" + ALNUM[10:58],
    "openai-project": "sk" + "-proj-" + ALNUM[20:68] + "1",
    "anthropic": "sk" + "-ant-api03-" + ALNUM[:40],
    "stripe": "sk" + "_live_" + ALNUM[:24],
    "slack": "xo" + "xb-" + "123456789012-" + ALNUM[:24],
    "slack-app": "xa" + "pp-1-" + "A0123-456-" + "abcdef0123",
    "google": "AI" + "za" + ALNUM[:35],
    "google-oauth": "ya" + "29." + ALNUM[:40],
    "google-client": "GOC" + "SPX-" + ALNUM[:28],
    "pypi": "py" + "pi-" + ALNUM[:60],
    "npm": "np" + "m_" + ALNUM[:36],
    "docker": "dc" + "kr_pat_" + ALNUM[:27],
    "nvidia": "nv" + "api-" + ALNUM[:60],
    "databricks": "da" + "pi" + "0123456789abcdef" * 2,
    "vault": "hv" + "s." + ALNUM[:30],
    "sendgrid": "S" + "G." + ALNUM[:22] + "." + ALNUM[:43],
    "age": "AGE-SECRET" + "-KEY-1" + UPPER[:58],
    "jwt": "ey" + "J" + ALNUM[:20] + ".ey" + "J" + ALNUM[:40] + "." + ALNUM[:43],
    "pem": PEM,
}

SECRET_NAMES = [
    "token",
    "TOKEN",
    "access_token",
    "hf_token",
    "HFToken",
    "githubToken",
    "NGROK_AUTHTOKEN",
    "auth-token",
    "token_value",
    "key",
    "api_key",
    "apiKey",
    "APIKey",
    "APIKEY",
    "api-key",
    "X-Api-Key",
    "WANDB_API_KEY",
    "wandb_key",
    "AWS_SECRET_ACCESS_KEY",
    "secretKey",
    "private_key",
    "privatekey",
    "ssh_key",
    "encryption_key",
    "api_key_base64",
    "password",
    "Password",
    "passwd",
    "pwd",
    "password2",
    "db_password",
    "dbpassword",
    "PGPASSWORD",
    "MYSQL_PWD",
    "DB_PASS",
    "passphrase",
    "secret",
    "client_secret",
    "clientSecret",
    "secrets",
    "auth",
    "http_auth",
    "Authorization",
    "cookie",
    "Set-Cookie",
    "session_cookie",
    "credential",
    "credentials",
    "aws_credentials",
    "private",
    "github_pat",
    "logger.wandb.api_key",
    "sessionid",
]

INNOCENT_NAMES = [
    "tokenizer",
    "tokenizer_name",
    "num_memory_tokens",
    "max_tokens",
    "token_count",
    "token_dim",
    "token_embedding",
    "pad_token",
    "eosToken",
    "stop_tokens",
    "special_tokens",
    "keyboard",
    "key_dim",
    "key_padding_mask",
    "sort_key",
    "primary_key",
    "public_key",
    "obs_keys",
    "keys",
    "reward_key",
    "metric_key",
    "monkey",
    "turkey",
    "author",
    "authority",
    "GIT_AUTHOR_NAME",
    "SSH_AUTH_SOCK",
    "password_file",
    "secret_name",
    "credentials_path",
    "GOOGLE_APPLICATION_CREDENTIALS_FILE",
    "token_url",
    "auth_type",
    "private_ip",
    "num_passes",
    "forward_pass",
    "compass",
    "passenger",
    "patience",
    "learning_rate",
    "seed",
    "",
    "42",
]


class Frozen(Mapping[str, object]):
    """A mapping that can be in a set."""

    def __getitem__(self, name: str) -> object:
        return {"lr": 1}[name]

    def __iter__(self) -> Iterator[str]:
        return iter(["lr"])

    def __len__(self) -> int:
        return 1

    def __hash__(self) -> int:
        return 1


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor()


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_text_with_a_secret_name_is_masked(redactor: Redactor, name: str) -> None:
    assert redactor.is_secret_name(name)
    assert redactor.value(name, "hunter2") == MASK
    assert redactor.argv(["train", f"--{name}=hunter2"]) == ["train", f"--{name}={MASK}"]
    assert redactor.argv([f"--{name}", "hunter2", "x"]) == [f"--{name}", MASK, "x"]


@pytest.mark.parametrize("name", INNOCENT_NAMES)
def test_an_innocent_name_leaves_the_value(redactor: Redactor, name: str) -> None:
    assert not redactor.is_secret_name(name)
    assert redactor.value(name, "value") == "value"
    arguments = [f"--{name}=value", f"--{name}", "value"]
    assert redactor.argv(arguments) == arguments


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_memory_tokens", 8),
        ("tokens", 512),
        ("tokens", "1024"),
        ("max_tokens", 4096),
        ("token", 50256),
        ("key", 3),
        ("use_auth_token", True),
        ("use_auth_token", "true"),
        ("api_key", None),
        ("api_key", ""),
        ("num_api_keys", 3),
        ("min_password_length", 12),
        ("token", "<pad>"),
        ("mask", "[MASK]"),
        ("PWD", "/home/me/project"),
        ("lr", 3e-4),
        ("auth", "none"),
    ],
)
def test_counts_switches_and_markers_are_no_secrets(
    redactor: Redactor, name: str, value: object
) -> None:
    assert redactor.value(name, value) == value


@pytest.mark.parametrize(("name", "value"), [("password", 1234), ("pin_secret", 1.5)])
def test_a_number_can_be_a_password(redactor: Redactor, name: str, value: object) -> None:
    assert redactor.value(name, value) == MASK


@pytest.mark.parametrize("secret", LOOK_SECRET.values(), ids=LOOK_SECRET)
def test_what_looks_like_a_secret_is_masked_wherever_it_stands(
    redactor: Redactor, secret: str
) -> None:
    assert redactor.text(secret) == MASK
    assert redactor.text(f"before {secret} after") == f"before {MASK} after"
    assert redactor.value("note", secret) == MASK
    assert redactor.value("note", secret.encode()) == MASK
    assert redactor.argv(["run", secret]) == ["run", MASK]
    assert list(redactor.mapping({secret: "x"})) == [MASK]


@pytest.mark.parametrize(
    "text",
    [
        "task-0123456789abcdefghij-run",
        "sk-some-long-name-of-kebab-words",
        "3f786850e387550fdab836ed7e6dc881de23001b",
        "the bearer of good news arrives",
        "KeyError: 'reward'",
        "Unexpected token: '}' in line 3",
        "sorted(rows, key=len)",
        "fit(token=token)",
        'if token == "eos":',
        "missing key: obs/rgb",
        "git@github.com:org/repo.git",
        "ssh://git@example.org/repo.git",
        "https://example.org/path?page=2#top",
        "user@example.org",
        "secret://vault/path",
        "auth::Basic",
        "num_memory_tokens=8, tokens=12",
        "<|endoftext|>",
        "",
        "C:\\keys\\file",
        "İstanbul key=len",
    ],
)
def test_ordinary_text_is_left_as_it_is(redactor: Redactor, text: str) -> None:
    assert redactor.text(text) == text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://user:pa55@example.org/x", f"https://{MASK}@example.org/x"),
        ("https://user:p@55@example.org/x", f"https://{MASK}@example.org/x"),
        ("https://abc123@example.org", f"https://{MASK}@example.org"),
        ("ssh://me:pa55@example.org", f"ssh://{MASK}@example.org"),
        ("postgresql+psycopg://u:p@db/x", f"postgresql+psycopg://{MASK}@db/x"),
        ("https://a.b/c?token=abc&page=2", f"https://a.b/c?token={MASK}&page=2"),
        ("https://a.b/c?page=2&key=abc", f"https://a.b/c?page=2&key={MASK}"),
        ("https://a.b/c?sv=1&sig=a%2Fb&x=1", f"https://a.b/c?sv=1&sig={MASK}&x=1"),
        ("https://a.b/?X-Amz-Signature=0f&x=1", f"https://a.b/?X-Amz-Signature={MASK}&x=1"),
        ("api_key=token=abc next", f"api_key={MASK} next"),
        ("password=hunter2 next", f"password={MASK} next"),
        ("password: hunter2", f"password: {MASK}"),
        ("db_password = 'two words' x", f"db_password = '{MASK}' x"),
        ("Config(api_key='abc', lr=1)", f"Config(api_key='{MASK}', lr=1)"),
        ("Config(api_key=b'abc', lr=1)", f"Config(api_key=b'{MASK}', lr=1)"),
        ('{"api_key": "a\\"b", "lr": 1}', f'{{"api_key": "{MASK}", "lr": 1}}'),
        ('{\\"api_key\\": \\"abc\\"}', f'{{\\"api_key\\": \\"{MASK}\\"}}'),
        ('{"token":"abc"}', f'{{"token":"{MASK}"}}'),
        ("api_keys=['abc', 'def'], lr=1", f"api_keys={MASK}, lr=1"),
        ("Authorization: Basic dXNlcjpw", f"Authorization: {MASK}"),
        ("'Authorization': 'Basic dXNl'", f"'Authorization': '{MASK}'"),
        ("authorization=Bearer%20abc,x=1", f"authorization={MASK},x=1"),
        ("Cookie: a=b; c=d\nHost: x", f"Cookie: {MASK}\nHost: x"),
        ("curl -H 'X-Api-Key: abc' u", f"curl -H 'X-Api-Key: {MASK}' u"),
        ("Bearer abcdefghijklmnop1", f"Bearer {MASK}"),
        ("HF_TOKEN=abc python x.py", f"HF_TOKEN={MASK} python x.py"),
        ("İ: HF_TOKEN=abc", f"İ: HF_TOKEN={MASK}"),
        (f"password={MASK}", f"password={MASK}"),
    ],
)
def test_secrets_inside_text_are_masked(redactor: Redactor, text: str, masked: str) -> None:
    assert redactor.text(text) == masked
    assert redactor.text(masked) == masked


def test_a_private_key_without_its_end_is_masked_to_the_end_of_the_text(
    redactor: Redactor,
) -> None:
    assert redactor.text(f"a\n{PEM}\nb") == f"a\n{MASK}\nb"
    assert redactor.text(f"a\n{PEM[:40]}\nb") == f"a\n{MASK}"


def test_containers_are_masked_at_any_depth(redactor: Redactor) -> None:
    params: dict[Any, Any] = {
        "lr": 0.1,
        "logger": {"wandb": {"api_key": "abc", "project": "x"}},
        "hosts": [{"name": "a", "password": "b"}, ("c", {"token": "d"})],
        "credentials": {"user": "me", "ids": [1, "two"], "on": True},
        "tokens": {"max": 5, "pad": "<pad>"},
        "names": {"a"},
        3: "three",
    }

    assert redactor.mapping(params) == {
        "lr": 0.1,
        "logger": {"wandb": {"api_key": MASK, "project": "x"}},
        "hosts": [{"name": "a", "password": MASK}, ("c", {"token": MASK})],
        "credentials": {"user": MASK, "ids": [MASK, MASK], "on": True},
        "tokens": {"max": 5, "pad": "<pad>"},
        "names": {"a"},
        "3": "three",
    }


def test_what_is_given_is_not_changed(redactor: Redactor) -> None:
    params = {"a": {"token": "x"}, "b": ["y"]}

    redactor.mapping(params)

    assert params == {"a": {"token": "x"}, "b": ["y"]}


def test_a_container_that_holds_itself_ends(redactor: Redactor) -> None:
    endless: dict[str, object] = {"lr": 1}
    endless["self"] = endless

    assert MASK in repr(redactor.mapping(endless))


def test_a_set_of_what_cannot_be_in_a_set_becomes_a_list(redactor: Redactor) -> None:
    assert redactor.value("x", frozenset({(1, 2)})) == frozenset({(1, 2)})
    assert redactor.value("api_key", {b"a"}) == {MASK}
    assert redactor.value("x", {Frozen()}) == [{"lr": 1}]


def test_an_object_under_a_secret_name_is_masked_and_elsewhere_kept(redactor: Redactor) -> None:
    thing = object()

    assert redactor.value("password", thing) == MASK
    assert redactor.value("model", thing) is thing


@pytest.mark.parametrize(
    ("argv", "masked"),
    [
        (["t", "--token", "abc", "--lr", "1"], ["t", "--token", MASK, "--lr", "1"]),
        (["t", "--token", "--lr", "1"], ["t", "--token", "--lr", "1"]),
        (["t", "-token", "abc"], ["t", "-token", MASK]),
        (["t", "--max-tokens", "8"], ["t", "--max-tokens", "8"]),
        (["t", "--num_memory_tokens=8"], ["t", "--num_memory_tokens=8"]),
        (["env", "FOO_TOKEN=abc", "cmd"], ["env", f"FOO_TOKEN={MASK}", "cmd"]),
        (["t", "+logger.api_key=abc", "lr=1"], ["t", f"+logger.api_key={MASK}", "lr=1"]),
        (["sh", "-c", "A_TOKEN=abc python x"], ["sh", "-c", f"A_TOKEN={MASK} python x"]),
        (["t", "https://u:p@h/x"], ["t", f"https://{MASK}@h/x"]),
        (["t", "--db=postgres://u:p@h/x"], ["t", f"--db=postgres://{MASK}@h/x"]),
        (["t", '--config={"api_key": "abc"}'], ["t", f'--config={{"api_key": "{MASK}"}}']),
        (["curl", "-H", "Authorization: Basic ab"], ["curl", "-H", f"Authorization: {MASK}"]),
        (["/usr/bin/curl", "-u", "me:abc", "u"], ["/usr/bin/curl", "-u", MASK, "u"]),
        (["curl", "-ume:abc"], ["curl", f"-u{MASK}"]),
        (["mysql", "-pabc", "-h", "db"], ["mysql", f"-p{MASK}", "-h", "db"]),
        (["ssh", "-p", "22", "host"], ["ssh", "-p", "22", "host"]),
        (["docker", "run", "-p", "80:80"], ["docker", "run", "-p", "80:80"]),
        (["docker", "login", "-p", "abc"], ["docker", "login", "-p", MASK]),
        ([], []),
    ],
)
def test_arguments(redactor: Redactor, argv: list[str], masked: list[str]) -> None:
    assert redactor.argv(argv) == masked


def test_an_extra_pattern_masks_whatever_such_a_name_holds() -> None:
    redactor = Redactor("^lab_|internal")

    masked = redactor.mapping({"lab_site": "x", "INTERNAL": True, "n": {"lab_n": [1]}, "lab": None})

    assert masked == {"lab_site": MASK, "INTERNAL": MASK, "n": {"lab_n": [MASK]}, "lab": None}
    assert redactor.argv(["--lab_site", "x"]) == ["--lab_site", MASK]


def test_a_bad_extra_pattern_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"'\(' is no regular expression.*position 0"):
        Redactor("(")


@given(st.text(alphabet=string.printable, max_size=200))
def test_masking_again_changes_nothing(text: str) -> None:
    redactor = Redactor()
    once = redactor.text(text)

    assert redactor.text(once) == once


@given(st.sampled_from(sorted(LOOK_SECRET)), st.text(" \n\t,;'\"()|", max_size=5))
def test_no_part_of_a_known_secret_survives(kind: str, around: str) -> None:
    assert LOOK_SECRET[kind] not in Redactor().text(f"{around}{LOOK_SECRET[kind]}{around}")


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=8))
def test_a_value_of_any_shape_is_handled(value: object) -> None:
    Redactor().mapping({"password": value, "lr": value})


MEGABYTE = 1_000_000
LONG = {
    "letters": "a" * MEGABYTE,
    "alphanumeric": ALNUM * (MEGABYTE // len(ALNUM)),
    "schemes": "://" * (MEGABYTE // 3),
    "long authority": "x://" + "a:" * (MEGABYTE // 2),
    "prose": "the token of the key holder passes the author a cookie " * (MEGABYTE // 55),
    "jwt heads": "eyJ" * (MEGABYTE // 3),
    "jwt with dots": "eyJhbGciOiJ." * (MEGABYTE // 12),
    "key heads": f"-----BEGIN {KIND}-----" * (MEGABYTE // 27),
    "names without values": "token" * (MEGABYTE // 5),
    "open quotes": "api_key=[" * (MEGABYTE // 9),
    "spaces": "password" + " " * MEGABYTE,
    "backslashes": "key" + "\\" * MEGABYTE,
    "numbers": "0.123, -4.5e-3, " * (MEGABYTE // 16),
    "machines": "machine " * (MEGABYTE // 8),
    "flags": "sshpass -p " * (MEGABYTE // 11),
    "tildes": "Q~" * (MEGABYTE // 2),
    "telegrams": "12345678:AA" * (MEGABYTE // 11),
    "terraforms": "a.atlasv1." * (MEGABYTE // 10),
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_the_time_grows_with_the_length_only(redactor: Redactor, text: str) -> None:
    """Four times the text takes four times as long; quadratic work would take sixteen times."""

    def seconds(length: int) -> float:
        started = time.process_time()
        redactor.text(text[:length])
        return time.process_time() - started

    seconds(1000)  # whatever is compiled on first use
    assert seconds(len(text)) < 10 * seconds(len(text) // 4) + 0.05


def test_a_long_name_is_judged_by_its_end(redactor: Redactor) -> None:
    assert redactor.value("A" * MEGABYTE + "_password", "x") == MASK
    assert redactor.argv(["--" + "a" * MEGABYTE]) == ["--" + "a" * MEGABYTE]


# -- corpora ---------------------------------------------------------------------------------------

SECRET_TEXTS = corpus.in_context(corpus.Fakes())
SECRET_ARGUMENTS = corpus.argument_lists(corpus.Fakes())
INNOCENT_TEXTS = corpus.innocent_texts(corpus.Fakes())


@pytest.mark.parametrize(("kind", "secret", "text"), SECRET_TEXTS, ids=[t[0] for t in SECRET_TEXTS])
def test_no_secret_of_the_corpus_survives(
    redactor: Redactor, kind: str, secret: str, text: str
) -> None:
    masked = redactor.text(text)

    assert secret not in masked, kind
    assert MASK in masked
    assert redactor.text(masked) == masked
    assert secret not in repr(redactor.mapping({"note": text, "nested": [{"x": text}]}))


@pytest.mark.parametrize(
    ("kind", "secret", "argv"), SECRET_ARGUMENTS, ids=[t[0] for t in SECRET_ARGUMENTS]
)
def test_no_secret_of_a_command_line_of_the_corpus_survives(
    redactor: Redactor, kind: str, secret: str, argv: list[str]
) -> None:
    masked = redactor.argv(argv)

    assert secret not in " ".join(masked), kind
    assert len(masked) == len(argv)
    assert masked[0] == argv[0]


@pytest.mark.parametrize(("kind", "text"), INNOCENT_TEXTS, ids=[t[0] for t in INNOCENT_TEXTS])
def test_no_innocent_of_the_corpus_is_masked(redactor: Redactor, kind: str, text: str) -> None:
    assert redactor.text(text) == text, kind
    assert redactor.value("note", text) == text


@pytest.mark.parametrize("argv", corpus.innocent_arguments(), ids=lambda argv: argv[0] + argv[1])
def test_no_innocent_command_line_of_the_corpus_is_masked(
    redactor: Redactor, argv: list[str]
) -> None:
    assert redactor.argv(argv) == argv


def test_what_surrounds_a_secret_is_kept(redactor: Redactor) -> None:
    assert redactor.text("sshpass -p hunter2 ssh host") == f"sshpass -p {MASK} ssh host"
    line = "machine example.org login me password hunter2"
    assert redactor.text(line) == f"machine example.org login me password {MASK}"
    assert redactor.text("OLDPWD=/home/me PWD=hunter2") == f"OLDPWD=/home/me PWD={MASK}"
    assert redactor.text("?tokens=5#top ?token=ab#top") == f"?tokens=5#top ?token={MASK}"
