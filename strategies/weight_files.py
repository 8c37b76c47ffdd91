"""Weight files on disk: where the packaged ones are, and what they hash to. Needs no torch."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from backtest.core.json_text import loads
from backtest.core.text import suggested_path
from backtest.errors import DataError, UsageError

_RANDOM = re.compile(r"random:(\d{1,9})(?::(\d{1,5})x(\d{1,3}))?")


@dataclass(frozen=True, slots=True)
class RandomWeights:
    """Weights to be drawn instead of read; the sizes default to the public checkpoint's."""

    seed: int
    hidden: int = 2048
    depth: int = 12


def random_weights(path: Path) -> RandomWeights | None:
    """What ``random:SEED`` or ``random:SEED:HIDDENxDEPTH`` asks for; ``None`` for a real file.

    Raises:
        UsageError: it begins like that but is malformed, or no ensemble has that width.
    """
    text = str(path)
    if not text.startswith("random:"):
        return None
    match = _RANDOM.fullmatch(text)
    if match is None or (match[2] and (int(match[2]) % 32 or not int(match[2]) * int(match[3]))):
        raise UsageError(
            f"{text!r} does not describe random weights",
            place="parameter 'weights'",
            remedy="Write random:SEED or random:SEED:HIDDENxDEPTH, the width a multiple of 32.",
        )
    return RandomWeights(int(match[1]), *(int(size) for size in match.groups()[1:] if size))


TRAINED_FROM, TRAINED_TO = "trained_from_ns", "trained_to_ns"
"""Metadata of a ``.safetensors`` file: the half-open window that its weights were fitted to."""

HEADER_LIMIT = 100_000_000
"""Bytes that the header of a ``.safetensors`` file may have."""

_LENGTH_BYTES = 8


def packaged_weights() -> Path:
    """The small ensemble that ships with the sample dataset."""
    return Path(str(resources.files("backtest") / "datasets" / "sample" / "weights.safetensors"))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"the weights cannot be read: {error.strerror}",
            place=str(path),
            remedy=(None if path.exists() else suggested_path(path))
            or "Set the strategy's parameter weights to a .safetensors or .pt file.",
        ) from None


def training_window(path: Path) -> tuple[int, int] | None:
    """The training window that a checkpoint states, int64 ns, half-open.

    ``None`` if it states none, or what is no window; only ``.safetensors`` files can.

    Raises:
        DataError: the file cannot be read.
    """
    if path.suffix != ".safetensors":
        return None
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            header = file.read(min(length, HEADER_LIMIT))
        metadata = loads(header)["__metadata__"]
        return int(metadata[TRAINED_FROM]), int(metadata[TRAINED_TO])
    except OSError as error:
        raise DataError(f"the weights cannot be read: {error.strerror}", place=str(path)) from None
    except (LookupError, TypeError, ValueError):
        return None
