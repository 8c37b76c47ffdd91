"""Parquet files that are read piece by piece are not held whole."""

from __future__ import annotations

import ast

from tests.test_imports import sources


def test_every_open_file_says_whether_it_is_buffered() -> None:
    """By default some versions of pyarrow keep all that ``iter_batches`` is going to read."""
    silent, seen = [], 0
    for module, source in sources().items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pq.ParquetFile":
                seen += 1
                if "pre_buffer" not in {keyword.arg for keyword in node.keywords}:
                    silent.append(f"{module}:{node.lineno}")
    assert silent == []
    assert seen >= 8
