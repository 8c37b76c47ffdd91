"""The folders are linked as the build and the type checkers need them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.one_python

ROOT = Path(__file__).parents[1]

TEXT = {"", ".cfg", ".ini", ".json", ".md", ".py", ".toml", ".txt", ".yaml", ".yml"}

# Spelt in parts, so that this file does not mention them either.
FORBIDDEN = [
    "pypi" + r"\.org",
    "pythonhosted" + r"\.org",
    "download" + r"\.pytorch\.org",
    "index" + "-url",
    "(?<![a-z])/(?:work|root|home)" + "/[a-z]",
]


def files() -> list[Path]:
    """The files of the checkout; the test is skipped where git cannot tell them."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="a source distribution holds copies")
@pytest.mark.parametrize("name", ["datasets", "plugins", "strategies"])
def test_links_resolve_to_the_top_level_folders(name: str) -> None:
    link = ROOT / "backtest" / name
    assert link.is_symlink(), "check out with core.symlinks=true"
    assert not link.readlink().is_absolute()
    assert link.resolve(strict=True) == ROOT / name


def test_datasets_hold_no_python() -> None:
    assert not list((ROOT / "datasets").rglob("*.py*"))


def test_nothing_is_imported_past_the_links() -> None:
    past = re.compile(r"^\s*(?:from|import) (?:plugins|strategies|datasets)\b", re.MULTILINE)
    assert not [path for path in files() if path.suffix == ".py" and past.search(path.read_text())]


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_no_file_names_a_host_or_a_machine(pattern: str) -> None:
    forbidden = re.compile(pattern)
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files()
        if path.suffix in TEXT
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if forbidden.search(line)
    ]
    assert not found
