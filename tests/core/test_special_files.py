"""An output that is no regular file is written to or refused, and never replaced."""

from __future__ import annotations

import os
import pty
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from backtest.core.atomic import new_file, new_folder, sweep_all
from backtest.errors import DataError

ROOT = Path(__file__).parents[2]


def write(target: Path, text: str = "whole") -> None:
    with new_file(target) as path:
        path.write_text(text)


def fail(target: Path) -> None:
    with new_file(target) as path:
        path.write_text("half")
        raise RuntimeError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    real, link, second = tmp_path / "far" / "real", tmp_path / "link", tmp_path / "second"
    real.write_text("old")
    link.symlink_to("far/real")
    second.symlink_to("link")
    before = real.stat().st_ino
    write(second)
    assert (link.is_symlink(), second.is_symlink()) == (True, True)
    assert real.read_text() == "whole"
    assert real.stat().st_ino != before, "it was not replaced as a whole"
    assert names(tmp_path / "far") == ["real"]


def test_a_link_to_nothing_makes_what_it_names(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("deep/real")
    write(link)
    assert link.is_symlink()
    assert (tmp_path / "deep" / "real").read_text() == "whole"


def test_an_error_leaves_a_link_and_its_target(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(RuntimeError):
        fail(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "link").read_text() == "old"
    assert names(tmp_path) == ["link", "real"]


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(DataError, match="a: it cannot be written"):
        write(tmp_path / "a")
    assert (tmp_path / "a").is_symlink()


def test_permissions_of_a_replaced_file_stay(tmp_path: Path) -> None:
    target = tmp_path / "secret"
    target.write_text("old")
    target.chmod(0o600)
    write(target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_is_written_to(linked: bool, tmp_path: Path) -> None:
    pipe = target = tmp_path / "pipe"
    os.mkfifo(pipe)
    if linked:
        target = tmp_path / "link"
        target.symlink_to("pipe")
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()), daemon=True)
    reader.start()
    write(target)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    reader.join(30)
    assert received == ["whole"]
    assert target.is_symlink() == linked


def test_a_pipe_gets_nothing_of_what_failed(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(RuntimeError):
            fail(pipe)
        assert os.read(reading, 9) == b""
    finally:
        os.close(reading)
    assert names(tmp_path) == ["pipe"]


def test_a_terminal_is_written_to() -> None:
    ours, theirs = pty.openpty()
    try:
        name = Path(os.ttyname(theirs))
        before = name.stat()
        write(name, "whole\n")
        assert os.path.samestat(before, name.stat())
        assert os.read(ours, 99) == b"whole\r\n"
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    """One of its own, so that nobody misses it if it is replaced."""
    device = tmp_path / "null"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        device.write_text("x")
    except OSError:
        pytest.skip("needs the right to make a device")
    write(device)
    assert stat.S_ISCHR(device.stat().st_mode)
    assert names(tmp_path) == ["null"]


@pytest.mark.parametrize("kind", ["folder", "socket"])
def test_what_takes_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "it"
    if kind == "folder":
        target.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as served:
            served.bind(str(target))
    before = target.stat()
    with pytest.raises(DataError, match=f"it: it cannot be written: it is a {kind}"):
        write(target)
    assert os.path.samestat(before, target.stat())
    assert names(tmp_path) == ["it"]


STDOUT = """
import sys
from pathlib import Path
from backtest.core.atomic import new_file

print("first")
with new_file(Path(sys.argv[1])) as path:
    path.write_text("second\\n")
print("third")
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("into", ["file", "pipe"])
def test_stdout_is_written_to_in_order(linked: bool, into: str, tmp_path: Path) -> None:
    """Through a link of its own, as /dev/stdout is one that all processes share."""
    name = Path("/proc/self/fd/1")
    if linked:
        name = tmp_path / "stdout"
        name.symlink_to("/proc/self/fd/1")
    command = [sys.executable, "-c", STDOUT, str(name)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    if into == "pipe":
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == "first\nsecond\nthird\n"
        return
    with (tmp_path / "out").open("w") as out:
        out.write("before\n")
        out.flush()
        subprocess.run(command, env=environment, stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "before\nfirst\nsecond\nthird\n"
    assert names(tmp_path) == ["out", *(["stdout"] if linked else [])]


def test_a_folder_that_is_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "mark").write_text("old")
    (tmp_path / "link").symlink_to("far")
    with new_folder(tmp_path / "link", marker="mark", overwrite=True) as folder:
        (folder / "mark").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "far" / "mark").read_text() == "new"
    assert names(tmp_path) == ["far", "link"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_pipe_never_becomes_a_folder(overwrite: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (
        pytest.raises(DataError, match=r"already exists|not replaced"),
        new_folder(tmp_path / "pipe", marker="mark", overwrite=overwrite),
    ):
        pass
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_remains_do_not_take_the_place_of_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to("nowhere")
    (tmp_path / ".run.old-01234567").mkdir()
    sweep_all(tmp_path)
    assert (tmp_path / "run").is_symlink()


def test_the_next_writer_of_a_file_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    (tmp_path / ".report.html.tmp-01234567").write_text("half")
    os.mkfifo(tmp_path / ".report.html.tmp-89abcdef")
    write(tmp_path / "report.html")
    assert names(tmp_path) == ["report.html"]
