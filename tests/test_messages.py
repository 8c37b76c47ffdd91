"""Every message of an error is whole: what is wrong, where, and what to do about it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.one_python

ROOT = Path(__file__).parents[1]
RAISED = ("UsageError", "DataError", "RunError", "PluginError", "GateError")
VERBS = re.compile(
    "(is|are|has|have|holds|contains|cannot|matches|fails|gives|defines|looks|must|lies|reads)\\b"
)


@dataclass(frozen=True)
class Message:
    """An error as the source raises it; what is computed in its texts is ``{}``."""

    where: str
    problem: str
    place: bool
    remedy: str | None

    def __str__(self) -> str:
        return self.where


def text_of(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text_of(node.left) + text_of(node.right)
    return "{}"


def messages() -> Iterator[Message]:
    for folder in ("backtest", "plugins", "strategies"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if any(p.is_symlink() for p in path.parents):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                    continue
                if node.func.id not in RAISED or not node.args:
                    continue
                named = {k.arg: k.value for k in node.keywords}
                remedy = named.get("remedy")
                yield Message(
                    f"{path.relative_to(ROOT)}:{node.lineno}",
                    text_of(node.args[0]),
                    "place" in named,
                    None if remedy is None else text_of(remedy),
                )


MESSAGES = list(messages())


def test_all_messages_are_found() -> None:
    assert len(MESSAGES) > 200


@pytest.mark.parametrize("message", MESSAGES, ids=str)
def test_a_message_is_whole(message: Message) -> None:
    assert not VERBS.match(message.problem), "it lacks its subject"
    assert len(message.problem.split()) > 2 or not message.problem.strip("{}"), (
        "it is not a sentence"
    )
    assert not message.problem.endswith("."), "the remedy follows on a line of its own"
    if message.remedy is not None:
        assert message.remedy[-1] in ".?})=1", "the remedy is not a sentence"
