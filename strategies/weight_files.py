"""Weight files on disk: where the packaged ones are, and what they hash to. Needs no torch."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path

from backtest.errors import DataError


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
