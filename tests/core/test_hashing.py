"""Results are keyed by the source of the whole package, wherever the module that hashes it lies."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from backtest.core.hashing import package_sha256

ROOT = Path(__file__).parents[2]

EDITS = """
import json
from pathlib import Path

from backtest.core.hashing import package_sha256

digest = package_sha256.__wrapped__
whole = digest()
unnoticed, names = [], []
for path in sorted(Path.cwd().rglob("*.py")):
    source = path.read_bytes()
    path.write_bytes(source + b"#")
    names.append(str(path.relative_to(Path.cwd())))
    if digest() == whole:
        unnoticed.append(names[-1])
    path.write_bytes(source)
print(json.dumps({"whole": whole, "again": digest(), "names": names, "unnoticed": unnoticed}))
"""


def test_an_edit_of_any_file_changes_the_digest(tmp_path: Path) -> None:
    compiled = shutil.ignore_patterns("__pycache__")
    for name in ("backtest", "plugins", "strategies"):
        if (ROOT / name).exists():  # a source distribution holds copies within the package
            shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=compiled)
    command = [sys.executable, "-c", EDITS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["unnoticed"] == []
    assert found["whole"] == found["again"] == package_sha256()
    edited = {Path(name).name for name in found["names"]}
    assert edited >= {"api.py", "hookspecs.py", "hashing.py", "registration.py"}
