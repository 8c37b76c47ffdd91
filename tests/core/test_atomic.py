"""Folders that exist whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backtest.core import atomic
from backtest.core.atomic import new_file, new_folder, sweep, sweep_all, writing
from backtest.errors import DataError
from backtest.plugins.loading import load_file


def make(target: Path, text: str, *, overwrite: bool = False) -> None:
    with new_folder(target, marker="mark", overwrite=overwrite) as folder:
        (folder / "mark").write_text(text)
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text(text)


def fail(target: Path, error: BaseException, *, overwrite: bool = False) -> None:
    with new_folder(target, marker="mark", overwrite=overwrite) as folder:
        (folder / "mark").write_text("half")
        raise error


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a" / "target"
    with new_folder(target, marker="mark") as folder:
        (folder / "mark").write_text("x")
        assert not target.exists()
        assert folder.parent == target.parent
    assert (target / "mark").read_text() == "x"
    assert names(target.parent) == ["target"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_when_the_block_raises(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        fail(tmp_path / "t", error())
    assert names(tmp_path) == []


def test_a_folder_that_is_there_stays_unless_it_may_be_overwritten(tmp_path: Path) -> None:
    make(tmp_path / "t", "old")
    with pytest.raises(DataError, match="already exists"):
        make(tmp_path / "t", "new")
    assert (tmp_path / "t" / "mark").read_text() == "old"
    make(tmp_path / "t", "new", overwrite=True)
    assert (tmp_path / "t" / "mark").read_text() == "new"
    assert names(tmp_path) == ["t"]


def test_an_overwrite_that_fails_keeps_the_old_folder(tmp_path: Path) -> None:
    make(tmp_path / "t", "old")
    with pytest.raises(RuntimeError):
        fail(tmp_path / "t", RuntimeError(), overwrite=True)
    assert (tmp_path / "t" / "deep" / "file").read_text() == "old"
    assert names(tmp_path) == ["t"]


def test_folders_of_another_kind_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("dear")
    with pytest.raises(DataError, match="it contains no mark"):
        make(tmp_path / "home", "new", overwrite=True)
    assert (tmp_path / "home" / "letter").read_text() == "dear"


def test_swaps_where_the_filesystem_cannot_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda *_args, **_named: object())
    make(tmp_path / "t", "old")
    make(tmp_path / "t", "new", overwrite=True)
    assert (tmp_path / "t" / "mark").read_text() == "new"
    assert names(tmp_path) == ["t"]


def test_what_was_set_aside_is_put_back(tmp_path: Path) -> None:
    make(tmp_path / "t", "old")
    (tmp_path / "t").rename(tmp_path / ".t.old-1234")
    sweep(tmp_path / "t")
    assert (tmp_path / "t" / "mark").read_text() == "old"


def test_a_killed_writer_leaves_nothing_that_the_next_does_not_sweep(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from backtest.core.atomic import new_folder\n"
        "with new_folder(sys.argv[1], marker='mark') as folder:\n"
        "    (folder / 'mark').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    killed = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "t")],
        env=os.environ | {"PYTHONPATH": str(root)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "t").exists()
    assert len(names(tmp_path)) == 1
    make(tmp_path / "t", "whole")
    assert names(tmp_path) == ["t"]


def test_a_living_writer_is_not_swept(tmp_path: Path) -> None:
    with new_folder(tmp_path / "t", marker="mark") as folder:
        (folder / "mark").write_text("first")
        sweep(tmp_path / "t")
        assert (folder / "mark").exists()
    assert (tmp_path / "t" / "mark").read_text() == "first"


def test_of_two_writers_the_second_to_finish_is_refused(tmp_path: Path) -> None:
    def slow() -> None:
        with new_folder(tmp_path / "t", marker="mark") as folder:
            (folder / "mark").write_text("slow")
            make(tmp_path / "t", "fast")

    with pytest.raises(DataError, match="already exists"):
        slow()
    assert (tmp_path / "t" / "mark").read_text() == "fast"
    assert names(tmp_path) == ["t"]


@pytest.mark.parametrize("name", ["*", "[a]", "a b", "-rf", "=cmd", "é\n"])
def test_hostile_names_are_only_names(tmp_path: Path, name: str) -> None:
    (tmp_path / ".other.tmp-1").mkdir()
    make(tmp_path / name, "x")
    assert names(tmp_path) == sorted([name, ".other.tmp-1"])


def test_a_parent_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"file/t: it cannot be written"):
        make(tmp_path / "file" / "t", "x")


def test_a_full_disk_gets_a_remedy() -> None:
    with pytest.raises(DataError, match="The disk is full"), writing(Path("x")):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_that_another_writer_put_there_meanwhile_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "run"
    with new_folder(target, marker="m") as folder:
        (folder / "m").write_text("theirs")
    late = tmp_path / "late"
    late.mkdir()
    (late / "m").write_text("ours")
    monkeypatch.setattr(Path, "exists", lambda _: False)  # as it was a moment ago
    atomic._put_in_place(late, target)
    assert (target / "m").read_text() == "ours"


def test_sweeping_a_folder_removes_remains_and_puts_back_what_was_set_aside(tmp_path: Path) -> None:
    (tmp_path / ".gone.tmp-01234567").mkdir()
    (tmp_path / ".gone.json.tmp-89abcdef").write_text("half")
    (tmp_path / ".aside.old-01234567").mkdir()
    for kept in (".hidden", ".not.tmp-a-hash", "plain.tmp-01234567"):
        (tmp_path / kept).write_text("")
    with new_file(tmp_path / "busy") as busy:
        sweep_all(tmp_path)
        assert busy.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".hidden", ".not.tmp-a-hash", "aside", "busy", "plain.tmp-01234567"
    ]  # fmt: skip


def test_what_a_living_writer_has_set_aside_is_not_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda *_args, **_named: object())
    rename, swept = Path.rename, []

    def renamed(path: Path, target: Path) -> Path:
        moved = rename(path, target)
        if ".old-" in target.name:
            assert not (tmp_path / "t").exists()
            sweep_all(tmp_path)
            swept.append((tmp_path / "t").exists())
        return moved

    make(tmp_path / "t", "old")
    monkeypatch.setattr(Path, "rename", renamed)
    make(tmp_path / "t", "new", overwrite=True)
    assert swept == [False]
    assert (tmp_path / "t" / "mark").read_text() == "new"
    assert names(tmp_path) == ["t"]


def test_a_file_that_is_swept_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = atomic._make_file, []

    def made_and_swept(path: Path) -> None:
        real(path)
        made.append(path)
        if len(made) == 1:
            sweep_all(tmp_path)

    monkeypatch.setattr(atomic, "_make_file", made_and_swept)
    with new_file(tmp_path / "t") as path:
        path.write_text("whole")
        sweep_all(tmp_path)
        assert path.exists()
    assert len(made) == 2
    assert (tmp_path / "t").read_text() == "whole"


def test_names_are_given_in_one_place() -> None:
    """Elsewhere a rename could replace a link, a device or a pipe that a user has named."""
    root = Path(__file__).parents[2]
    renames = re.compile(r"os\.(replace|rename)\(|shutil\.move\(|\.rename\(|aside\.replace\(")
    found = {
        str(path.relative_to(root))
        for folder in ("backtest", "plugins", "strategies")
        for path in (root / folder).rglob("*.py")
        if renames.search(path.read_text())
    }
    # The second is the cache of compiled code, whose files have names that nobody chooses.
    assert found == {"backtest/core/atomic.py", "backtest/core/compiled.py"}


def test_what_a_plugin_raises_is_not_taken_for_a_failure_to_write(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text("def fail():\n    open('/no/such/file')\n")
    fail = load_file(plugin).fail
    with pytest.raises(FileNotFoundError), writing(tmp_path):
        fail()


@pytest.mark.parametrize("address", ["s3://bucket/data", "gs://bucket/data", "s3:/bucket/data"])
@pytest.mark.parametrize("kind", [str, Path])
def test_addresses_of_object_stores_are_no_folders(
    address: str, kind: type[str] | type[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scheme = address.partition(":")[0]
    with (
        pytest.raises(DataError, match=f"nothing can be written to {scheme} directly"),
        new_folder(kind(address), marker="x"),
    ):
        pytest.fail("the block was entered")
    with (
        pytest.raises(DataError, match=f"nothing can be written to {scheme} directly"),
        new_file(Path(address) / "file"),
    ):
        pytest.fail("the block was entered")
    assert [*tmp_path.iterdir()] == []
