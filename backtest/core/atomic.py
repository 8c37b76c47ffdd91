"""Folders and files that exist whole or not at all, whenever the process or the machine stops."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import glob
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from backtest.core.special_files import is_special, special_file
from backtest.core.tracebacks import plugin_line
from backtest.errors import DataError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_ASIDE = re.compile("(tmp|old)-[0-9a-f]{8}")
_ADDRESS = re.compile("([a-z][a-z0-9+.-]+):/")  # of a URI; ``Path`` makes one slash of two


@contextmanager
def new_folder(target: Path | str, *, marker: str, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder that becomes ``target`` when the block ends, and vanishes if it raises.

    It is a sibling of the target, so that the rename is atomic. The writer holds a lock on it,
    which the system drops when the process dies: unlocked siblings are remains of a killed writer
    and are removed here.

    Args:
        target: the folder to make; its parent is made if need be.
        marker: a file that every finished folder of this kind holds; ``overwrite`` replaces no
            folder without it.
        overwrite: replace a folder that is already there. It stays until the new one is whole.

    Raises:
        DataError: the target is there and may not be replaced, or cannot be written.
    """
    _refuse_address(target)
    final = Path(os.path.realpath(target))
    with writing(final):
        made = _parents(final)
        sweep(final)
        _check_target(final, marker, overwrite)
        folder, lock = _locked_sibling(final, _make_folder)
    try:
        yield folder
        with writing(final):
            _check_target(final, marker, overwrite)
            for path in [*folder.rglob("*"), folder]:
                sync(path)
            _put_in_place(folder, final)
            sync(final.parent)
    finally:
        # What bears the temporary name now is either unfinished or the folder that was replaced.
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        for parent in made:
            with contextlib.suppress(OSError):  # it holds something
                parent.rmdir()


def _refuse_address(target: Path | str) -> None:
    """Refuse an address of an object store, of which a path would make a folder named ``s3:``.

    Raises:
        DataError: it is one.
    """
    scheme = _ADDRESS.match(str(target))
    if scheme is not None:
        raise DataError(
            f"nothing can be written to {scheme[1]} directly",
            place=f"{scheme[1]}://{str(target)[scheme.end() :].lstrip('/')}",
            remedy="Write it to a folder of this machine, and copy that there. Datasets are read"
            " from object stores.",
        )


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A path to write to that becomes ``target`` when the block ends, and vanishes if it raises.

    A link is followed: what it points to is replaced, and the link stays. A device or a pipe is
    never replaced: what was written is sent to it. The path is locked as ``new_folder`` locks its
    own, so that what killed writers left is distinguished from work in progress.

    Raises:
        DataError: it cannot be written.
    """
    _refuse_address(target)
    with writing(target):
        if is_special(target):
            with special_file(target) as aside:
                yield aside
            return
        final = Path(os.path.realpath(target))
        final.parent.mkdir(parents=True, exist_ok=True)
        sweep(final)
        aside, lock = _locked_sibling(final, _make_file)
        try:
            yield aside
            with contextlib.suppress(FileNotFoundError):
                shutil.copymode(final, aside)
            sync(aside)
            aside.replace(final)
            sync(final.parent)
        finally:
            aside.unlink(missing_ok=True)
            os.close(lock)


def lock_folder(folder: Path, *, make: bool) -> int | None:
    """A handle that holds the lock on a folder until it is closed or the process ends.

    Args:
        folder: what to lock.
        make: make the folder if there is none.

    Returns:
        ``None`` if there is no such folder, or another handle holds its lock.

    Raises:
        OSError: it cannot be made or locked.
    """
    while True:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as undo:
            try:
                handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                undo.callback(os.close, handle)
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Since it was opened, its last holder may have removed and another recreated it.
                if os.path.samestat(os.fstat(handle), folder.stat()):
                    undo.pop_all()
                    return handle
            except BlockingIOError:
                return None
            except FileNotFoundError:
                if not make:
                    return None


def is_being_written(target: Path) -> bool:
    """Whether a process holds a folder that is to become ``target``."""
    for aside in target.parent.glob(f".{glob.escape(target.name)}.tmp-*"):
        with contextlib.suppress(OSError):  # its writer may finish meanwhile
            handle = os.open(aside, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(handle)
    return False


def remove_folder(folder: Path) -> bool:
    """Remove a folder: its name is gone at once, and what a killed process leaves is swept later.

    Returns:
        ``False`` if it is gone already, or others hold its lock.

    Raises:
        DataError: it cannot be removed.
    """
    with writing(folder):
        lock = lock_folder(folder, make=False)
        if lock is None:
            return False
        try:
            aside = folder.with_name(f".{folder.name}.tmp-{secrets.token_hex(4)}")
            folder.rename(aside)
            shutil.rmtree(aside)
        finally:
            os.close(lock)
    return True


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn what the operating system raises while writing into ``DataError`` naming the place.

    What a plugin raises in the block has nothing to do with the place, and is passed on.
    """
    try:
        yield
    except OSError as error:
        if plugin_line(error) is not None:
            raise
        remedy = {
            errno.ENOSPC: "The disk is full: free some space and run it again.",
            errno.EACCES: "Choose a folder that you may write to.",
            errno.EROFS: "Choose a folder that you may write to.",
        }.get(error.errno or 0)
        raise DataError(
            f"it cannot be written: {error.strerror or error}", place=str(place), remedy=remedy
        ) from None


def sweep(target: Path) -> None:
    """Remove what killed writers of ``target`` left next to it; restore what one had set aside."""
    name = glob.escape(target.name)
    for remains in target.parent.glob(f".{name}.tmp-*"):
        _if_abandoned(remains, _remove)
    for remains in target.parent.glob(f".{name}.old-*"):
        _if_abandoned(remains, _remove if os.path.lexists(target) else partial(_restore, target))


def sweep_all(folder: Path) -> None:
    """Do what ``sweep`` does for everything that was ever written to a folder."""
    names = {p.name.rpartition(".")[0][1:] for p in folder.glob(".*.*-*") if is_unfinished(p)}
    for name in names:
        sweep(folder / name)


def is_unfinished(path: Path) -> bool:
    """Whether a path has a name that writers give to what is not finished or about to go."""
    hidden, _, made = path.name.rpartition(".")
    return hidden.startswith(".") and _ASIDE.fullmatch(made) is not None


def _if_abandoned(path: Path, act: Callable[[Path], object]) -> None:
    """Do something to what a writer left that has died, for it no longer holds the lock."""
    with contextlib.suppress(OSError):
        handle = _opened(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            act(path)
        finally:
            os.close(handle)


def _opened(path: Path) -> int:
    """A handle to lock a file or folder by; NFS locks no file that is open for reading alone."""
    mode = os.O_RDONLY if path.is_dir() else os.O_RDWR
    return os.open(path, mode | os.O_NONBLOCK | os.O_NOFOLLOW)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()


def _restore(target: Path, path: Path) -> None:
    path.rename(target)


def _parents(path: Path) -> list[Path]:
    """Create the parent folders of a path; returns the new ones, innermost first."""
    made = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    return made


def _check_target(final: Path, marker: str, overwrite: bool) -> None:
    if not os.path.lexists(final):
        return
    if not overwrite:
        raise DataError(
            "it already exists", place=str(final), remedy="Choose another name, or use --overwrite."
        )
    if not (final / marker).is_file():
        raise DataError(
            f"it is not replaced, as it contains no {marker}",
            place=str(final),
            remedy="Only a folder of the same kind is overwritten; choose another name.",
        )


def _locked_sibling(final: Path, make: Callable[[Path], None]) -> tuple[Path, int]:
    """A new file or folder beside ``final``, and the handle that holds its lock."""
    while True:
        path = final.with_name(f".{final.name}.tmp-{secrets.token_hex(4)}")
        make(path)
        with contextlib.suppress(FileNotFoundError):
            handle = _opened(path)
            fcntl.flock(handle, fcntl.LOCK_EX)
            # Another writer may have swept it before it was locked.
            if path.exists():
                return path, handle
            os.close(handle)


def _make_file(path: Path) -> None:
    path.touch(exist_ok=False)


def _make_folder(path: Path) -> None:
    path.mkdir(parents=True)


def _put_in_place(new: Path, final: Path) -> None:
    if not final.exists():
        try:
            new.rename(final)
        except OSError as error:
            # Another writer of the same folder was quicker.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return
    _exchange(new, final)


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders' names, at once where the filesystem can."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    paths = os.fsencode(new), os.fsencode(old)
    if rename and rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
        return
    # Where it cannot, nobody else may put the old one back in between.
    lock = os.open(old, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        aside = old.with_name(f".{old.name}.old-{secrets.token_hex(4)}")
        old.rename(aside)
        new.rename(old)
        aside.rename(new)
    finally:
        os.close(lock)


def sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
