"""Which names look secret: they are split into words, and the last words decide."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final


class Suspicion(IntEnum):
    """How sure a name makes us: WEAK masks text, STRONG numbers too, ALWAYS whatever it is."""

    NONE = 0
    WEAK = 1
    STRONG = 2
    ALWAYS = 3


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STRONG: Final = _words(
    "password passwords passwd passphrase passcode pwd secret secrets credential credentials creds"
    " cookie cookies authorization jwt bearer apikey apikeys sessionid"
)
_STRONG_ENDS: Final = ("password", "passwd", "passphrase", "secret", "apikey")
_STRONG_COMPACT: Final = (
    *("apikey", "secretkey", "accesskey", "privatekey", "sshkey", "signingkey", "masterkey"),
    *("encryptionkey", "authkey", "accountkey", "licensekey", "authtoken", "accesstoken"),
)
# `password_file` names a place and `secret_count` a number, neither is a secret.
_HARMLESS_TAILS: Final = _words(
    "file files path paths dir directory folder length len size count counts max min limit policy"
    " attempts url uri endpoint type kind field fields column columns required enabled disabled"
    " ttl timeout expiry expires lifetime rotation algorithm alg name names manager provider"
    " backend store version format prompt jar rate ratio"
)
# … while these still hold it: `token_value`, `api_key_base64`.
_SECRET_TAILS: Final = _words(
    "value string str raw plain plaintext text header headers b base hex pem material secret env"
)
_COUNTS: Final = _words(
    "num n max min count total number len length size dim dims per avg mean limit budget"
)
_ML_TOKENS: Final = _words(
    "pad bos eos unk cls sep mask special additional stop start end image audio video text class"
    " next new prev memory register latent visual prompt completion input output context cached"
    " reasoning generated train query action state object patch word sub soft learned extra ignore"
    " sequence batch vocab first last think begin"
)
_TOKEN_OWNERS: Final = _words(
    "refresh bearer github gh gitlab hf huggingface hub slack bot user id csrf xsrf session"
    " security jwt personal registry npm pypi telegram discord identity"
)
_SECRET_KEYS: Final = _words(
    "api secret access private encryption decryption signing ssh master account storage auth oauth"
    " service license licence wandb app application shared deploy client consumer subscription"
    " openai anthropic comet neptune aws gcp azure gpg pgp rsa hmac cipher crypto symmetric"
    " recovery webhook sas admin ingest ingestion instrumentation dd datadog sentry"
)
_HARMLESS_KEYS: Final = _words(
    "public pub primary foreign sort sorting order partition metric reward obs observation image"
    " dict cache group grouping join index lookup state action data rng prng random jax label"
    " monitor hot shortcut press pressed idempotency unique composite natural hash range row column"
    " col batch feature target input output loss score map object param config yaml json shard time"
    " date sample frame camera sensor robot env agent policy dedup routing run step task episode"
    " checkpoint model dataset split attn attention cross by any best eval video goal info log"
    " field dot nested sub query tag legend minor major piano musical"
)
_PASS_OWNERS: Final = _words(
    "db database user username smtp mail email imap ftp root admin mysql pg postgres redis mongo"
    " rabbitmq default ssh login account proxy http https registry docker basic bind ldap vpn wifi"
)
_PAT_OWNERS: Final = _words("github gh gitlab gl git azure ado devops")

WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NUMBER: Final = re.compile(r"[-+]?[0-9][0-9_]{0,30}(?:\.[0-9]{0,30})?(?:[eE][-+]?[0-9]{1,4})?")
_MARKER: Final = re.compile(r"<[^<>]{0,64}>|\[[A-Z_]{1,32}\]")
_NO_SECRETS: Final = _words("true false none null yes no on off auto")


def judge(name: str) -> Suspicion:
    """Judge a name by its last words; see the word lists above for what they mean."""
    words = [word.lower() for word in WORD.findall(name)]
    if not words or words[-1] in _HARMLESS_TAILS:
        return Suspicion.NONE
    if any(word in _STRONG or word.endswith(_STRONG_ENDS) for word in words):
        return Suspicion.STRONG
    while len(words) > 1 and words[-1] in _SECRET_TAILS:
        words.pop()
    if "".join(words).endswith(_STRONG_COMPACT):
        return Suspicion.STRONG
    if words[-1].endswith(("token", "tokens")):
        return _judge_token(words)
    return _judge_key(words) if words[-1] in {"key", "keys"} else _judge_rest(words)


def _judge_rest(words: list[str]) -> Suspicion:
    last, owner = words[-1], _owner(words)
    secret = (
        last in {"auth", "oauth", "private"}
        or (last == "pass" and (not owner or owner in _PASS_OWNERS))
        or (last == "pat" and owner in _PAT_OWNERS)
    )
    return Suspicion.WEAK if secret else Suspicion.NONE


def _owner(words: list[str]) -> str:
    """Return whose token or key it is: the word before."""
    return words[-2] if len(words) > 1 else ""


def _judge_token(words: list[str]) -> Suspicion:
    last, owner = words[-1], _owner(words)
    if owner in _SECRET_KEYS or owner in _TOKEN_OWNERS:
        return Suspicion.STRONG
    joined = last.removesuffix("s").removesuffix("token")
    harmless = owner in _ML_TOKENS or joined in _ML_TOKENS or not _COUNTS.isdisjoint(words)
    return Suspicion.NONE if harmless else Suspicion.WEAK


def _judge_key(words: list[str]) -> Suspicion:
    last, owner = words[-1], _owner(words)
    if owner in _SECRET_KEYS:
        return Suspicion.STRONG
    harmless = last == "keys" or owner in _HARMLESS_KEYS
    return Suspicion.NONE if harmless else Suspicion.WEAK


def hides(value: str, suspicion: Suspicion) -> bool:
    """Return whether a text under a name of that suspicion has to be masked."""
    if not value or not suspicion:
        return False
    if suspicion is Suspicion.ALWAYS:
        return True
    if value.lower() in _NO_SECRETS:
        return False
    return suspicion is Suspicion.STRONG or not (
        _NUMBER.fullmatch(value) or _MARKER.fullmatch(value)
    )


def is_number(value: object) -> bool:
    """Return whether it is a number; a switch is none."""
    return isinstance(value, (int, float, complex)) and not isinstance(value, bool)


def counts(name: str) -> bool:
    """Return whether the name is that of a number of things: `num_api_keys`."""
    return not _COUNTS.isdisjoint(word.lower() for word in WORD.findall(name))
