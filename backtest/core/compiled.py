"""Loops that numba compiles, and where their machine code is kept between processes.

numba's own cache watches the file of the function that it keeps, not the files of what that
function calls, so an edited rule would go on running as it was. Here machine code is kept under a
hash of all modules of the package that compile something, and of those that they import: an edit of
any of them compiles everything anew. Checkouts with the same source share what was compiled once.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pickle
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

COMPILED_FROM = 20_000
"""Rows from which on it pays to load compiled loops that only save time in reading data."""

_PACKAGE = Path(__file__).parents[1]
_COMPILES = re.compile(rb"^\s*@(compiled\w*|inlined|intrinsic|njit)\b|\bnjit\(", re.MULTILINE)
_IMPORTS = re.compile(rb"^(?:from|import) +([\w.]+)(?: +import +([^#]*?)(?:$|\)))?", re.MULTILINE)
_KEPT = 4
_log = logging.getLogger("backtest.compiling")


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called; it runs without the interpreter's lock.

    It can neither make arrays nor take them by address, since numba's counting of references is
    off: for every row of a matrix that is looked at, counting takes longer than most of what is
    done with the row. Such functions are ``compiled_counting``.

    With ``NUMBA_DISABLE_JIT=1`` the function itself is returned, as by ``njit``. A function that
    closes over variables needs a ``__qualname__`` of its own for each of their values.
    """
    return _compiled(function, _nrt=False)


def compiled_inline(function: Callable[..., Any]) -> Any:
    """The same for a phase of a compiled function: its code becomes part of every caller's.

    A call copies seven words for each array that it is given, so where a phase is given tuples of
    arrays for every row or message, the call takes longer than the phase.
    """
    return _compiled(function, _nrt=False, forceinline=True)


def compiled_counting(function: Callable[..., Any]) -> Any:
    """The same with references counted, for a function that makes arrays or is given addresses."""
    return _compiled(function)


def inlined(function: Callable[..., Any]) -> Any:
    """A phase of a function that is ``compiled_counting``: it becomes part of every caller's code.

    numba types it once and LLVM inlines it, which compiles several times as fast as inlining by
    numba itself. Give it few arrays and no tuples of them: each field of each is an argument. It
    cannot be called from Python unless nothing is compiled.
    """
    from numba import njit

    options = {"forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return njit(nogil=True, **options)(function)


def _compiled(function: Callable[..., Any], **options: Any) -> Any:
    from numba import config, njit

    dispatcher = njit(nogil=True, **options)(function)
    if not config.DISABLE_JIT:
        dispatcher._cache = _cache_of(function)
    return dispatcher


def writable(column: Any) -> Any:
    """The column as compiled loops take it: they are compiled anew for each kind of array."""
    return np.require(column, requirements=["C", "W"])


@cache
def sources_sha256(root: Path = _PACKAGE) -> str:
    """SHA-256 over the modules of a package that compile something, and what those import of it."""
    sources: dict[str, bytes] = {}
    for folder, _, names in os.walk(root, followlinks=True):
        for path in (Path(folder, name) for name in names if name.endswith(".py")):
            sources[".".join((root.name, *path.relative_to(root).with_suffix("").parts))] = (
                path.read_bytes()
            )
    wanted = {name for name, source in sources.items() if _COMPILES.search(source)}
    pending = [*wanted]
    while pending:  # a constant of another module is part of machine code as well
        found = _imported(sources[pending.pop()]) & sources.keys() - wanted
        wanted |= found
        pending += found
    digest = hashlib.sha256()
    for name in sorted(wanted):
        digest.update(f"{name}\0{len(sources[name])}\0".encode() + sources[name])
    return digest.hexdigest()


def _imported(source: bytes) -> set[str]:
    """Names of all that a module imports at its top, modules or not."""
    found = set()
    for module, names in _IMPORTS.findall(source):
        parts = [part.split() for part in names.strip(b"( \n").split(b",")]
        found |= {module, module + b".__init__"}
        found |= {module + b"." + part[0] for part in parts if part}
    return {name.decode() for name in found}


def cache_folder() -> Path:
    """Where machine code of the present source is kept; made when something is.

    In the folder that ``NUMBA_CACHE_DIR`` names, or else in the user's folder for caches.
    """
    given = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    with contextlib.suppress(RuntimeError):  # a user without a home keeps nothing
        given = given or str(Path.home() / ".cache")
    return Path(given or os.devnull, "ticktoll", "compiled", sources_sha256()[:16])


def _cache_of(function: Callable[..., Any]) -> Any:
    """numba's cache of one function, with its files and its message replaced."""
    from numba.core.caching import CacheImpl, CompileResultCacheImpl, FunctionCache

    class Locator:
        """numba asks for one; nothing here depends on its answers."""

        _py_file = function.__code__.co_filename

        @classmethod
        def from_function(cls, function: Any, path: str) -> Locator:
            return cls()

        def get_cache_path(self) -> str:
            return str(cache_folder())

        def get_source_stamp(self) -> str:
            return sources_sha256()

        def get_disambiguator(self) -> str:
            return ""

        def ensure_cache_path(self) -> None:
            pass

    class Impl(CompileResultCacheImpl):  # type: ignore[misc]
        """Finds its files by ``Locator``, whatever the environment says of numba's own."""

        def __init__(self, function: Any) -> None:
            self._lineno = function.__code__.co_firstlineno
            self._locator = Locator()
            self._filename_base = f"{function.__module__}.{function.__qualname__}"

    class Cache(FunctionCache):  # type: ignore[misc]
        _impl_class = Impl

        def __init__(self, function: Any) -> None:
            super().__init__(function)
            self._cache_file = _Files(function)

        def _index_key(self, sig: Any, codegen: Any) -> Any:
            return sig, codegen.magic_tuple()  # the source is part of the file's path and name

        def load_overload(self, signature: Any, context: Any) -> Any:
            found = super().load_overload(signature, context)
            if found is None:
                _announce()
            return found

    assert issubclass(Impl, CacheImpl)
    return Cache(function)


@cache
def _announce() -> None:
    """Say, once in a process, why the first run takes seconds longer."""
    _log.info("compiling the loops, once for this machine: about ten seconds")


class _Files:
    """A file for each set of argument types of one function.

    numba's files number them in an index, which two processes that compile at the same time can
    write for each other's machine code.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}"
        # The package's source names the folder; a plugin's own file is no part of that.
        self._source = _file_sha256(function.__code__.co_filename)

    def load(self, key: Any) -> Any:
        """What was saved for this key; ``None`` if nothing readable was."""
        try:
            data = self._path(key).read_bytes()
        except OSError:
            return None
        # A damaged pickle can fail in any of these ways.
        with contextlib.suppress(
            pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, ValueError
        ):
            return pickle.loads(data)
        return None

    def save(self, key: Any, data: Any) -> None:
        """Keep it if the folder can be written to; otherwise the next process compiles again."""
        from numba.core.serialize import dumps

        path = self._path(key)
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            if not path.parent.is_dir():
                path.parent.mkdir(parents=True)
                _forget_old(path.parent)
            aside.write_bytes(dumps(data))
            aside.replace(path)

    def _path(self, key: Any) -> Path:
        import numba

        text = repr((key, numba.__version__, self._source))
        return cache_folder() / f"{self._name}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


@cache
def _file_sha256(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:  # a function that was typed in
        return ""


def _forget_old(newest: Path) -> None:
    """Remove what earlier states of the source left behind, but for the latest few."""
    others = [path for path in newest.parent.iterdir() if path != newest]
    for path in sorted(others, key=lambda path: path.stat().st_mtime)[: 1 - _KEPT]:
        shutil.rmtree(path, ignore_errors=True)
