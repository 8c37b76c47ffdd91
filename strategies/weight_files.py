"""Weight files on disk: where the packaged ones are, and what they hash to. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path

from backtest.errors import DataError

TRAINED_FROM, TRAINED_TO = "trained_from_ns", "trained_to_ns"
"""Metadata of a ``.safetensors`` file: the half-open window that its weights were fitted to."""

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
            f"cannot read the weights: {error.strerror}",
            place=str(path),
            remedy="Set the strategy's parameter weights to a .safetensors or .pt file.",
        ) from None


def training_window(path: Path) -> tuple[int, int] | None:
    """The window that a checkpoint says its weights were fitted to, int64 ns, half-open.

    ``None`` where it does not say so; only ``.safetensors`` files can.
    """
    if path.suffix != ".safetensors":
        return None
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        metadata = json.loads(file.read(length)).get("__metadata__", {})
    try:
        return int(metadata[TRAINED_FROM]), int(metadata[TRAINED_TO])
    except (KeyError, ValueError):
        return None
