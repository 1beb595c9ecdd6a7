"""Walks values, arguments and text, and masks what a name or the look of it makes secret."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, cast

from robot_sf_otel.redaction.names import WORD, Suspicion, counts, hides, is_number, judge
from robot_sf_otel.redaction.patterns import MASK, without_secrets

_Container: TypeAlias = (
    Mapping[str, object] | list[object] | tuple[object, ...] | set[object] | frozenset[object]
)

_DIRECTORIES: Final = frozenset({"PWD", "OLDPWD"})
"""What shells call their working directories, which are no passwords."""
_MAX_NAME: Final = 256
_MAX_DEPTH: Final = 32

_WORD_CHARACTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."
_ASSIGNMENT: Final = re.compile(
    r"(?P<word>(?:token|key|pass|pwd|secret|auth|cookie|cred|jwt|bearer|private|sessionid)"
    r"[a-z0-9_.-]{0,48}+)(?P<quote>\\{0,3}+[\"']?+)[ \t]{0,4}+(?P<sign>=>|:=|==|=|:)[ \t]{0,4}+"
)
_ASSIGNED: Final = re.compile(
    r"(?:(?P<escaped>\\{1,3}+[\"'])(?P<in_escaped>[^\"'\\\n]{0,65536}+)"
    r"|[bBrRuUfF]{0,2}(?P<quote>[\"'])(?P<quoted>(?:\\.|(?!(?P=quote))[^\\\n])*+)"
    r"|(?P<bare>\[redacted\]|(?:(?:[Bb]asic|[Bb]earer|[Tt]oken|[Dd]igest)(?:[ ]|%20)++)?"
    r"[^\s,;&\"'()\[\]{}<>\\]++)"
    r"|(?P<several>\[[^\[\]\n]*+\]|\{[^{}\n]*+\}))"
)
_GROUPS: Final = ("in_escaped", "quoted", "bare", "several")
_REST_OF_LINE: Final = re.compile(r"[^\n\"']++")
_ASSIGNMENT_HINTS: Final = (
    *("token", "key", "pass", "pwd", "secret", "auth", "cookie", "cred", "jwt"),
    *("bearer", "private", "sessionid"),
)

# Single letters mean a password to these programs only.
_PROGRAM_FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "curl": ("-u", "-U", "--user", "--proxy-user"),
    "mysql": ("-p",),
    "mysqldump": ("-p",),
    "mariadb": ("-p",),
    "sshpass": ("-p",),
    "redis-cli": ("-a",),
    "login": ("-p",),  # docker login, az login, …
}
_FLAG: Final = re.compile(r"--?(?P<name>[A-Za-z][\w.-]{0,255})")
_NAMED: Final = re.compile(r"(?P<name>[-+~@]{0,2}[A-Za-z_][\w./:@\[\]-]{0,255})=")


class Redactor:
    """Masks secrets as `[redacted]`; thread-safe, as nothing changes after construction.

    Args:
        extra_pattern: A regular expression, searched case-insensitively in names; whatever such a
            name holds is masked.

    Raises:
        ValueError: `extra_pattern` is no regular expression.
    """

    def __init__(self, extra_pattern: str | None = None) -> None:
        try:
            self._extra = re.compile(extra_pattern, re.IGNORECASE) if extra_pattern else None
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(
                f"{extra_pattern!r} is no regular expression of secret names: {error}"
            ) from error
        self._suspicion = functools.lru_cache(maxsize=2048)(self._judge)

    def is_secret_name(self, name: str) -> bool:
        """Return whether a text of that name would be masked."""
        return self._suspicion(name[-_MAX_NAME:]) is not Suspicion.NONE

    def value(self, name: str, value: object) -> object:
        """Return the value as it may be recorded; containers are copied and masked inside."""
        return self._value(name, value, Suspicion.NONE, 0)

    def mapping(self, mapping: Mapping[str, object]) -> dict[str, object]:
        """Return a copy with the secrets masked, at any depth."""
        return self._mapping(mapping, Suspicion.NONE, 0)

    def argv(self, argv: Sequence[str]) -> list[str]:
        """Return command-line arguments with the secrets masked.

        Understands `--api-key=x`, `--token x`, `FOO_TOKEN=x cmd`, `nested.api_key=x`, headers, URLs
        and the short password flags of a few well-known programs (`curl -u`, `mysql -p`).
        """
        masked: list[str] = []
        previous = ""
        flags: tuple[str, ...] = ()
        pending = Suspicion.NONE
        for argument in argv:
            script = previous == "-c"  # sh -c "A_TOKEN=x python train.py"
            previous = argument
            if pending and not argument.startswith("-"):
                hidden = hides(argument, pending)
                masked.append(MASK if hidden else self.text(argument))
                pending = Suspicion.NONE
                continue
            flags = _PROGRAM_FLAGS.get(argument[-_MAX_NAME:].rpartition("/")[2], flags)
            pending = Suspicion.NONE
            attached = next((f for f in flags if len(f) == 2 and argument.startswith(f)), None)  # noqa: PLR2004 - a dash and a letter
            if argument in flags:
                pending = Suspicion.STRONG
                masked.append(argument)
            elif attached is not None:
                masked.append(f"{attached}{MASK}")
            elif (flag := _FLAG.fullmatch(argument)) is not None:
                pending = self._suspicion(flag["name"])
                masked.append(self.text(argument))
            else:
                masked.append(self.text(argument) if script else self._argument(argument))
        return masked

    def text(self, text: str) -> str:
        """Return the text without what looks like a secret, or is assigned to a secret name."""
        text = without_secrets(text)
        lowered = text.lower()
        if not any(hint in lowered for hint in _ASSIGNMENT_HINTS):
            return text
        if len(lowered) != len(text):  # a few letters have a lower case of two characters
            lowered = "".join(c.lower() if c.isascii() else c for c in text)
        return self._without_assignments(text, lowered)

    # ------------------------------------------------------------------------------------- values

    def _value(self, name: str, value: object, inherited: Suspicion, depth: int) -> object:
        own = self._suspicion(name[-_MAX_NAME:])
        suspicion = max(inherited, own)
        if name in _DIRECTORIES and isinstance(value, str) and value.startswith("/"):
            return self.text(value)
        if own is Suspicion.STRONG and not inherited and is_number(value) and counts(name):
            return value
        return self._leaf(value, suspicion, depth)

    def _leaf(self, value: object, suspicion: Suspicion, depth: int) -> object:
        if depth > _MAX_DEPTH:
            return MASK  # nested without end, or in itself
        if isinstance(value, str):
            return MASK if hides(value, suspicion) else self.text(value)
        if isinstance(value, (bytes, bytearray)):
            plain = bytes(value).decode("latin-1")
            secret = hides(plain, suspicion) or self.text(plain) != plain
            return MASK if secret else value
        if isinstance(value, (Mapping, list, tuple, set, frozenset)):
            return self._container(cast("_Container", value), suspicion, depth)
        return MASK if _hides_object(value, suspicion) else value

    def _container(self, value: _Container, suspicion: Suspicion, depth: int) -> object:
        if isinstance(value, Mapping):
            return self._mapping(value, suspicion, depth)
        items = [self._leaf(item, suspicion, depth + 1) for item in value]
        if isinstance(value, list):
            return items
        if isinstance(value, tuple):
            return tuple(items)
        try:
            return type(value)(items)
        except TypeError:  # what was a tuple in the set may now hold a list
            return items

    def _mapping(
        self, mapping: Mapping[str, object], inherited: Suspicion, depth: int
    ) -> dict[str, object]:
        return {
            self.text(str(key)): self._value(str(key), value, inherited, depth + 1)
            for key, value in mapping.items()
        }

    def _argument(self, argument: str) -> str:
        named = _NAMED.match(argument)
        if named is None:
            return self.text(argument)
        value = argument[named.end() :]
        name = named["name"].lstrip("-+~@")
        shown = self._value(name, value, Suspicion.NONE, 0)
        return f"{self.text(named[0])}{shown}"

    # -------------------------------------------------------------------------------------- names

    def _judge(self, name: str) -> Suspicion:
        if self._extra is not None and self._extra.search(name):
            return Suspicion.ALWAYS
        return judge(name)

    # --------------------------------------------------------------------------------------- text

    def _without_assignments(self, text: str, lowered: str) -> str:
        parts: list[str] = []
        done = 0
        for found in _ASSIGNMENT.finditer(lowered):
            if found.start() < done:
                continue
            span = self._secret_span(text, found)
            if span is not None:
                parts += (text[done : span[0]], MASK)
                done = span[1]
        if not parts:
            return text
        parts.append(text[done:])
        return "".join(parts)

    def _secret_span(self, text: str, found: re.Match[str]) -> tuple[int, int] | None:
        """Return where the secret lies that is assigned here, if one is."""
        before = text[max(0, found.start() - 64) : found.start()]
        head = before[len(before.rstrip(_WORD_CHARACTERS)) :]
        name = head + text[found.start("word") : found.end("word")]
        suspicion = self._suspicion(name[-_MAX_NAME:])
        preceding = text[max(0, found.start() - len(head) - 1)]
        after = text[found.end() : found.end() + 2]
        if not suspicion or not _assigns(name, found, suspicion, preceding, after):
            return None
        header = found["sign"] == ":" and name.lower().endswith(("cookie", "authorization"))
        if header and after[:1] not in "\"'\\":
            rest = _REST_OF_LINE.match(text, found.end())
            return rest.span() if rest else None
        assigned = _ASSIGNED.match(text, found.end())
        if assigned is None:
            return None
        group = next(g for g in _GROUPS if assigned[g] is not None)
        value = assigned[group]
        harmless = (
            (group == "several" and suspicion is Suspicion.WEAK)
            # f(token=token) in the source line of a traceback
            or (group == "bare" and value.lower() == name.lower())
            or (name in _DIRECTORIES and value.startswith("/"))
            # What follows a # is not part of the value of a query.
            or not hides(value.partition("#")[0] or value, suspicion)
        )
        return None if harmless else assigned.span(group)


def _assigns(
    name: str, found: re.Match[str], suspicion: Suspicion, preceding: str, after: str
) -> bool:
    """Return whether a value follows, rather than prose or source code.

    "Unexpected token: x", sorted(key=len) and `secret://path` are no assignments of secrets, while
    "password: x", token=x, ?key=x and {"token": x} are.
    """
    sign = found["sign"]
    if sign == "==" or after == "//" or (sign == ":" and after[:1] == ":"):
        return False
    if found["quote"] or suspicion is not Suspicion.WEAK or len(WORD.findall(name)) > 1:
        return True
    return sign != ":" and (name.lower() != "key" or preceding in "?&")


def _hides_object(value: object, suspicion: Suspicion) -> bool:
    """Return whether anything but a text or a container has to be masked under such a name."""
    if value is None:
        return False
    if isinstance(value, bool):
        return suspicion is Suspicion.ALWAYS
    return suspicion >= (Suspicion.STRONG if is_number(value) else Suspicion.WEAK)
