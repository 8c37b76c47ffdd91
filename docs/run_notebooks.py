"""Executes the notebooks of the docs and keeps their outputs: ``python -m docs.run_notebooks``.

Outputs are stored, so that the site is built without executing anything. A test executes the
notebooks again and compares.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FOLDER = Path(__file__).parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

_TIMEOUT_SECONDS = 300
"""For one cell."""

_STYLES = re.compile(r"\x1b\[[\d;]*m")


def read(path: Path) -> Any:
    """The notebook as it is stored."""
    import nbformat  # here, so that tests are collected where notebooks cannot be executed

    return nbformat.read(path, as_version=4)


def executed(path: Path) -> Any:
    """The notebook after it ran from its first cell to its last, in an empty folder.

    Raises:
        CellExecutionError: a cell raised an error.
    """
    from nbclient import NotebookClient

    notebook = read(path)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": str(FOLDER.parents[1]),
        # Commands print into a pseudo-terminal.
        "NO_COLOR": "1",
        "TERM": "dumb",
        "COLUMNS": "100",
    }
    with TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=_TIMEOUT_SECONDS,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )
        client.execute(env=environment)
    return plain(notebook)


def plain(notebook: Any) -> Any:
    """The notebook with nothing that depends on the machine or the versions that executed it."""
    import nbformat

    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python", "pygments_lexer": "ipython3"},
        }
    )
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                lines = _STYLES.sub("", output.text).splitlines()
                output.text = "\n".join(line.rstrip() for line in lines) + "\n"
            elif len(output.data) > 1:
                del output.data["text/plain"]  # what is shown where nothing better can be
    return notebook


if __name__ == "__main__":
    import nbformat

    for path in NOTEBOOKS:
        nbformat.write(executed(path), path)
