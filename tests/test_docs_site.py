"""The documentation site builds without a warning, and its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from docs.generate import FOLDER

pytestmark = pytest.mark.one_python


def test_the_site_builds_and_no_link_is_dead(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-q",
        "-d", str(tmp_path / "doctrees"), str(FOLDER), str(tmp_path / "site"),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = {path: path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.html")}
    assert len(pages) > len([*FOLDER.rglob("*.md")])
    # Links of the main text; the theme's own come from another test suite.
    for page, text in pages.items():
        body = text.partition('<article role="main"')[2].partition("</article>")[0]
        for link in re.findall(r'(?:href|src)="([^"]+)"', body):
            target, anchor = urldefrag(link)
            if re.match(r"[a-z]+:", target):
                continue
            path = (page.parent / unquote(target)).resolve() if target else page
            assert path.exists(), (page.name, link)
            if anchor and path.suffix == ".html":
                assert f'id="{unquote(anchor)}"' in pages[path], (page.name, link)


def test_every_page_is_in_a_table_of_contents() -> None:
    listed = set(re.findall(r"^[\w/-]+$", (FOLDER / "index.md").read_text(), re.MULTILINE))
    pages = {
        path.relative_to(FOLDER).with_suffix("").as_posix()
        for path in [*FOLDER.rglob("*.md"), *FOLDER.rglob("*.ipynb")]
        if "results" not in path.parts
    }
    assert pages - {"index"} == listed
