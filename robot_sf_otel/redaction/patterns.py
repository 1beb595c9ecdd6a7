"""What secrets look like whatever they are called: tokens of well-known services, keys, URLs.

Every pattern needs a literal that the text must hold, and is bounded or possessive, so that the
time is linear in the length of the text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Final

MASK: Final = "[redacted]"


def _with_digit(found: re.Match[str]) -> str:
    """Ordinary kebab-case words have no digits and capitals, keys have."""
    text = found[0]
    return MASK if any(c.isdigit() for c in text) else text


def _user_info(found: re.Match[str]) -> str:
    """A login name alone is no secret over ssh; over http it is an access token."""
    user = found["user"]
    over_ssh = found.string[max(0, found.start() - 3) : found.start()] == "ssh"
    if ":" not in user and (over_ssh or user in {"git", "hg", "svn"}):
        return found[0]
    return f"://{MASK}@"


# (a literal that the text must hold, the pattern, what to put there). The look-behinds after the
# literal keep a match from starting inside a longer word, which also keeps the time linear.
_LOOKS_SECRET: Final[tuple[tuple[str, str, str | Callable[[re.Match[str]], str]], ...]] = (
    ("://", r"://(?P<user>[^\s/?#@\"'<>\\]{1,4096}+)@", _user_info),
    # A password may hold an @: the last one before the path counts.
    (f"://{MASK}@", r"://\[redacted\]@[^\s/?#\"'<>\\@]*+@", f"://{MASK}@"),
    ("AKIA", r"AKIA(?<![A-Za-z0-9]AKIA)[A-Z0-9]{16}(?![A-Za-z0-9])", MASK),
    ("ASIA", r"ASIA(?<![A-Za-z0-9]ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])", MASK),
    ("gh", r"gh[pousr]_[A-Za-z0-9]{30,}+", MASK),
    ("github_pat_", r"github_pat_[A-Za-z0-9_]{22,}+", MASK),
    ("gl", r"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|soat)-[\w-]{20,}+", MASK),
    ("hf_", r"hf_(?<![A-Za-z0-9]hf_)[A-Za-z0-9]{30,}+", MASK),
    ("api_org_", r"api_org_[A-Za-z0-9]{30,}+", MASK),
    ("sk-", r"sk-(?<![A-Za-z0-9_-]sk-)[A-Za-z0-9_-]{20,}+", _with_digit),
    ("k_", r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}+", MASK),
    ("xox", r"xox[abeoprs]-[A-Za-z0-9-]{10,}+", MASK),
    ("xapp-", r"xapp-[A-Za-z0-9-]{10,}+", MASK),
    ("hooks.slack.com", r"hooks\.slack\.com/[\w/-]{8,}+", f"hooks.slack.com/{MASK}"),
    ("/api/webhooks/", r"/api/webhooks/[\w/-]{8,}+", f"/api/webhooks/{MASK}"),
    ("AIza", r"AIza[\w-]{35}", MASK),
    ("ya29.", r"ya29\.[\w-]{20,}+", MASK),
    ("GOCSPX-", r"GOCSPX-[\w-]{20,}+", MASK),
    ("pypi-", r"pypi-[\w-]{40,}+", MASK),
    ("npm_", r"npm_[A-Za-z0-9]{36}", MASK),
    ("dckr_", r"dckr_[op]at_[\w-]{20,}+", MASK),
    ("nvapi-", r"nvapi-[\w-]{40,}+", MASK),
    ("wandb_v", r"wandb_v\d_[\w-]{20,}+", MASK),
    ("dapi", r"dapi(?<![A-Za-z0-9]dapi)[0-9a-f]{32}", MASK),
    ("hvs.", r"hvs\.[\w-]{24,}+", MASK),
    ("SG.", r"SG\.[\w-]{16,32}\.[\w-]{32,64}", MASK),
    ("GR1348941", r"GR1348941[\w-]{20,}+", MASK),
    ("gsk_", r"gsk_(?<![A-Za-z0-9]gsk_)[A-Za-z0-9]{40,}+", MASK),
    ("r8_", r"r8_(?<![A-Za-z0-9]r8_)[A-Za-z0-9]{37,}+", MASK),
    ("xai-", r"xai-(?<![\w-]xai-)[A-Za-z0-9]{60,}+", MASK),
    ("pplx-", r"pplx-(?<![\w-]pplx-)[A-Za-z0-9]{40,}+", MASK),
    ("whsec_", r"whsec_[A-Za-z0-9+/=]{24,}+", MASK),
    ("rubygems_", r"rubygems_[0-9a-f]{48}", MASK),
    ("_v1_", r"do[opr]_v1_[0-9a-f]{64}", MASK),
    ("lin_api_", r"lin_api_[A-Za-z0-9]{32,}+", MASK),
    ("ntn_", r"ntn_(?<![A-Za-z0-9]ntn_)[A-Za-z0-9]{40,}+", MASK),
    ("glsa_", r"glsa_[A-Za-z0-9]{32}_[0-9A-Fa-f]{8}", MASK),
    ("glc_", r"glc_(?<![A-Za-z0-9]glc_)[A-Za-z0-9+/=]{32,}+", MASK),
    ("sntry", r"sntry[su]_[A-Za-z0-9+/=_]{40,}+", MASK),
    ("NRAK-", r"NRAK-[A-Z0-9]{27}", MASK),
    ("shp", r"shp(?:at|ca|pa|ss)_[0-9A-Fa-f]{32}", MASK),
    ("PMAK-", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}", MASK),
    ("tskey-", r"tskey-[a-z]{2,16}-[A-Za-z0-9-]{16,}+", _with_digit),
    (".atlasv1.", r"[A-Za-z0-9]{14}\.atlasv1\.[\w-]{60,}+", MASK),
    (":AA", r"(?<![0-9])[0-9]{8,10}:AA[\w-]{33}(?![\w-])", MASK),
    ("ATATT3", r"ATATT3[\w=-]{40,}+", MASK),
    ("nfp_", r"nfp_(?<![A-Za-z0-9]nfp_)[A-Za-z0-9]{36,}+", MASK),
    ("sbp_", r"sbp_[0-9a-f]{40}", MASK),
    ("Q~", r"(?<![\w.~-])[\w.~-]{3}[0-9]Q~[\w.~-]{31,34}(?![\w.~-])", MASK),
    ("sshpass", r"(?P<kept>sshpass\s{1,8}+-p\s{0,8}+)[^\s]++", rf"\g<kept>{MASK}"),
    (
        "machine ",  # a line of ~/.netrc
        r"(?P<kept>machine \S{1,256}+ login \S{1,256}+ password )\S++",
        rf"\g<kept>{MASK}",
    ),
    (
        "ey",  # "API key: x", which is no assignment as it has a space in its name
        r"(?i:(?P<kept>\b(?:api|secret|access|account|auth) key[:=] ?))[^\s\"'<>,;]{8,}+",
        rf"\g<kept>{MASK}",
    ),
    (
        "</",
        r"(?i:(?P<kept><(?:password|passwd|secret|token|api_?key)>))[^<>]{1,4096}+(?=</)",
        rf"\g<kept>{MASK}",
    ),
    (
        "%3",  # an assignment inside a URL
        r"(?i:(?P<kept>(?:passw(?:or)?d|secret|token|api_?key)(?:%22)?%3[AD](?:%2[02])*+))[^\s&\"'%]++",
        rf"\g<kept>{MASK}",
    ),
    ("AGE-SECRET-KEY-", r"AGE-SECRET-KEY-[A-Z0-9]{20,}+", MASK),
    ("eyJ", r"eyJ(?<![\w-]eyJ)[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*+", MASK),
    ("earer ", r"(?P<kept>[Bb]earer )[\w.~+/=-]{16,}+", rf"\g<kept>{MASK}"),
    (
        "ig",
        r"(?P<kept>[?&](?:sig|[Ss]ignature|X-(?:Amz|Goog)-Signature)=)[^&\s\"'<>]++",
        rf"\g<kept>{MASK}",
    ),
    ("X-", r"(?P<kept>X-(?:Amz|Goog)-Credential=)[^&\s\"'<>]++", rf"\g<kept>{MASK}"),
)
_KEY_BEGINS: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_ENDS: Final = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile when it is first needed: all of them would add 10 ms to the import."""
    return re.compile(pattern)


def without_secrets(text: str) -> str:
    """Return the text with everything masked that looks like a secret by itself."""
    if "PRIVATE KEY" in text:
        text = _without_private_keys(text)
    for literal, pattern, replacement in _LOOKS_SECRET:
        if literal in text:
            text = _compiled(pattern).sub(replacement, text)
    return text


def _without_private_keys(text: str) -> str:
    parts: list[str] = []
    done = 0
    while (begin := _KEY_BEGINS.search(text, done)) is not None:
        parts += (text[done : begin.start()], MASK)
        end = _KEY_ENDS.search(text, begin.end())
        done = len(text) if end is None else end.end()
    parts.append(text[done:])
    return "".join(parts)
