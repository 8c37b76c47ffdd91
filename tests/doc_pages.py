"""The blocks of the documentation: what each is, and what a comment before it says of it.

A block is run as it stands, in the order of its page and in one folder for a page, unless a comment
right before it says otherwise:

    <!-- not run: REASON -->      it is only checked
    <!-- file: NAME -->           it is put into a file
    <!-- first: COMMAND -->       what a reader has done before, run before the block
    <!-- output: WHAT -->         it is compared with what is printed, by a test of its own
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    *("README.md", "CONTRIBUTING.md", "datasets/README.md"),
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")),
]

_BLOCK = re.compile(r"((?:^<!-- .*? -->\n)*)^```([^\n]*)\n(.*?)^```$", re.M | re.S)
_MARK = re.compile(r"<!-- (not run|file|first|output): (.*?) -->", re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        line: number of its first line within the page.
        marks: what the comments before it say, by kind.
    """

    page: str
    line: int
    language: str
    text: str
    marks: dict[str, list[str]]

    @property
    def runs(self) -> bool:
        """Whether it is run as it stands."""
        return not self.marks.keys() & {"not run", "file", "output"}

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def blocks(page: str) -> tuple[Block, ...]:
    """The blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        marks: dict[str, list[str]] = {}
        for kind, content in _MARK.findall(match[1]):
            marks.setdefault(kind, []).append(content)
        if match[2].startswith("{"):  # an instruction to the site's builder
            continue
        line = text[: match.start(3)].count("\n") + 1
        found.append(Block(page, line, match[2], match[3], marks))
    return tuple(found)


def all_blocks() -> list[Block]:
    """The blocks of all pages."""
    return [block for page in PAGES for block in blocks(page)]


def commands(text: str) -> Iterator[str]:
    """The commands of a console block, each with the lines that continue it."""
    command = ""
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command
            command = line[2:]
        elif command and line.startswith(" "):
            command += "\n" + line
        elif command:
            yield command
            command = ""
    if command:
        yield command
