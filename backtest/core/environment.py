"""What results can depend on besides their inputs: versions of packages, and the device."""

from __future__ import annotations

from functools import cache
from importlib import metadata

from backtest.core.hashing import package_sha256

_VERSIONED = ("numpy", "torch", "triton")


def versions() -> dict[str, str]:
    """What answers can depend on: versions of distributions, and the digest of this package."""
    found = {name: version for name in _VERSIONED if (version := _version(name)) is not None}
    return {"backtest": package_sha256(), **found}


@cache
def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def device_model(device: str) -> str:
    """The model of a torch device, such as ``NVIDIA H200``."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return device
