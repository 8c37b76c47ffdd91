"""Import this before any kernel: without a GPU, triton then interprets kernels on the CPU."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
pytest.importorskip("triton", reason="the fused kernels need triton")

DEVICE = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def _patch_once() -> None:
    """Half of the interpreter's time goes into replacing the functions of ``triton.language``: it
    does so again for every helper that a kernel calls, where all of them are replaced already."""
    import triton.language as tl
    from triton.runtime import interpreter

    patch = interpreter._patch_lang

    def patch_once(function: Any) -> Any:
        used = [value for value in function.__globals__.values() if value is tl or value is tl.core]
        if any(tl.core.is_builtin(language.load) for language in used):
            return patch(function)
        return interpreter._LangPatchScope()

    interpreter._patch_lang = patch_once


_patch_once()
