"""Masks secrets in what is recorded: parameters, arguments, environment, URLs and plain text.

A value is masked because of its name (`api_key`) or because of what it looks like (`ghp_…`). Names
are split into words, so that `token` is secret while `tokenizer` and `num_memory_tokens` are not.
"""

from robot_sf_otel.redaction.outgoing import Outgoing
from robot_sf_otel.redaction.patterns import MASK
from robot_sf_otel.redaction.redactor import Redactor

__all__ = ["MASK", "Outgoing", "Redactor"]
