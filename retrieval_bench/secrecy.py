"""Secrets stay out of what is kept, shown or sent: a configuration may name a variable, never hold its content."""

from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from retrieval_bench.errors import BadConfig

_NAMES = re.compile(r"(?:^|[_.])(?:api_?key|access_?key|key|token|secret|password|passwd)$", re.IGNORECASE)
_IN_URL = re.compile(r"(?<=://)[^/@\s]+@")  # user:password@, or a user or token alone
_PASSWORD_IN_URL = re.compile(r"(?<=://)[^/@\s:]*:[^/@\s]+@")
_SHORTEST = 8  # of a secret: what is shorter may well stand in a configuration by chance
_REMEDY = "type export WANDB_API_KEY=… or export MLFLOW_TRACKING_TOKEN=…, for instance, and leave it out"

_OF_MILVUS = "type export MILVUS_TOKEN=user:password, and leave it out"


def refuse_secrets(config: Mapping[str, Any]) -> None:
    """Refuse a configuration that holds a secret, which records, pages and trackers would show.

    Raises:
        BadConfig: names the key, and does not repeat its value.

    >>> refuse_secrets({"logger": {"wandb": {"settings": {"api_key": "0123456789"}}}})
    Traceback (most recent call last):
    ...
    retrieval_bench.errors.BadConfig: logger.wandb.settings.api_key holds a secret, which every record would show; \
type export WANDB_API_KEY=… or export MLFLOW_TRACKING_TOKEN=…, for instance, and leave it out
    """
    held = dict(_held())
    for path, value in _texts("", config):
        if _NAMES.search(path):
            raise BadConfig(f"{path} holds a secret, which every record would show; {_REMEDY}")
        if (_IN_URL if path.startswith("logger.") else _PASSWORD_IN_URL).search(value):
            remedy = _OF_MILVUS if "milvus" in path else _REMEDY
            raise BadConfig(f"{path} holds a user or password, which every record would show; {remedy}")
        for name, secret in held.items():
            if secret in value:
                raise BadConfig(f"{path} holds what is in {name}, which every record would show; leave it out")


def refuse_typed(overrides: Iterable[str]) -> None:
    """The same of overrides as typed, before anything writes them down. Raises BadConfig."""
    for text in overrides:
        key, _, value = text.partition("=")
        if value not in ("", "null"):
            refuse_secrets({key.lstrip("+~"): value})


def hidden(text: str) -> str:
    """A message without users and passwords of addresses, and without the content of secret environment variables.

    >>> hidden("no answer from https://me:secret@host/api")
    'no answer from https://***@host/api'
    """
    text = _IN_URL.sub("***@", text)
    for _, secret in _held():
        text = text.replace(secret, "***")
    return text


def _held() -> Iterator[tuple[str, str]]:
    """Environment variables that are secrets by their names."""
    return ((name, value) for name, value in os.environ.items() if _NAMES.search(name) and len(value) >= _SHORTEST)


def without_places(text: str, run: Path) -> str:
    """A message without the paths of this machine, which records and pages would show.

    Args:
        run: where the files of the run lie: RUN. The libraries are site-packages, the current folder ., the home ~.

    >>> without_places("File /runs/a/results/index.bin, line 3", Path("/runs/a"))
    'File RUN/results/index.bin, line 3'
    """
    places = {str(run.absolute()): "RUN", str(Path.cwd()): ".", str(Path.home()): "~"}
    places |= {sysconfig.get_path(name): "site-packages" for name in ("purelib", "platlib")}
    for place in sorted(places, key=len, reverse=True):  # the innermost first
        if len(place) > 1:
            text = re.sub(rf"(?<![\w.~-]){re.escape(place)}(?![\w.-])", places[place], text)
    return text


def _texts(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every text and number in a configuration, with its dotted key."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(f"{path}.{key}" if path else str(key), inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(path, inner)
    elif isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
        yield path, str(value)
