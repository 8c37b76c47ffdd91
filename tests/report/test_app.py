"""Reports served on this machine: who may see them, and what they show as runs finish."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import uvicorn

from backtest.plugins.manager import load_plugins
from backtest.report.app import COOKIE, make_app
from backtest.runs.folder import MANIFEST
from tests.report.test_browser import BROWSER, QUIET

TOKEN = "secret-token"


class Site:
    """A served folder of runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        app = make_app(folder, load_plugins(entry_points=False), TOKEN)
        config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        run = {"sockets": [self.listener]}
        self.thread = threading.Thread(target=self.server.run, kwargs=run)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.listener.close()

    def get(
        self, path: str, *, cookie: str | None = TOKEN, host: str | None = None
    ) -> tuple[int, str, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Host": host or f"127.0.0.1:{self.port}"}
        if cookie is not None:
            headers["Cookie"] = f"{COOKIE}={cookie}"
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text, answer.headers


@pytest.fixture
def site(finished_runs: Path, tmp_path: Path) -> Iterator[Site]:
    shutil.copytree(finished_runs, tmp_path / "runs")
    served = Site(tmp_path / "runs")
    yield served
    served.close()


def run_ids(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}"))


def test_the_token_lets_in_and_nothing_else_does(site: Site) -> None:
    for path, cookie in (("/", None), ("/", "wrong"), ("/?token=wrong", None), ("/changes", None)):
        status, text, _ = site.get(path, cookie=cookie)
        assert status == 403
        assert run_ids(site.folder)[0] not in text
    status, _, headers = site.get(f"/?token={TOKEN}", cookie=None)
    assert status == 303
    assert headers["location"] == "/"
    assert headers["set-cookie"].startswith(f"{COOKIE}={TOKEN}; ")
    assert "HttpOnly" in headers["set-cookie"]
    assert "SameSite=strict" in headers["set-cookie"]
    assert site.get("/")[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "10.0.0.1"])
def test_other_names_for_this_machine_are_not_answered(site: Site, host: str) -> None:
    status, text, _ = site.get("/", host=host)
    assert status == 404
    assert run_ids(site.folder)[0] not in text


def test_pages_allow_themselves_alone(site: Site) -> None:
    status, text, headers = site.get("/")
    assert status == 200
    assert "default-src 'none'" in text
    assert "connect-src 'self'" in text
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"


def test_runs_are_listed_opened_and_compared(site: Site) -> None:
    ids = run_ids(site.folder)
    _, text, _ = site.get("/")
    assert all(f'href="/run/{name}"' in text for name in ids)
    status, text, _ = site.get(f"/run/{ids[0]}")
    assert status == 200
    assert ids[0] in text
    status, text, _ = site.get(f"/compare?run={ids[0]}&run={ids[1]}")
    assert status == 200
    assert "2 runs of" in text


def test_a_sweep_names_the_trials_behind_its_winner(site: Site) -> None:
    ids = run_ids(site.folder)
    entries: list[dict[str, Any]] = [
        {"id": name, "state": "done", "config": {}, "error": None} for name in ids
    ]
    (site.folder / "sweeps").mkdir()
    table = {"name": "night", "id": "0123456789ab", "runs": entries}
    (site.folder / "sweeps" / "0123456789ab.json").write_text(json.dumps(table))
    status, text, _ = site.get("/sweep/0123456789ab")
    assert status == 200
    assert "trials of the sweep" in text
    # The same runs, picked by hand, are no trials of anything.
    status, text, _ = site.get("/compare?" + "&".join(f"run={name}" for name in ids))
    assert status == 200
    assert "trials of the sweep" not in text
    assert "5 of 5" in site.get("/")[1]


@pytest.mark.parametrize(
    "path",
    ["/run/none", "/run/..", "/run/" + quote("../runs", safe=""), "/compare", "/compare?run=%00",
     "/sweep/none", "/sweep/..%2f..", "/elsewhere", "/run/%3Cscript%3E"],
)  # fmt: skip
def test_what_is_not_there_is_said_to_be_missing(site: Site, path: str) -> None:
    status, text, _ = site.get(path)
    assert status == 404
    assert "<script>" not in text.partition("<main")[2].partition("</main>")[0]


def test_damaged_and_unfinished_runs_are_left_out(site: Site) -> None:
    first, second, third = run_ids(site.folder)[:3]
    (site.folder / first / MANIFEST).write_text("{}")
    (site.folder / second / "metrics.json").write_text("[")
    (site.folder / "sweeps").mkdir(exist_ok=True)
    (site.folder / "sweeps" / "broken.json").write_text('{"runs": 3}')
    (site.folder / ".writing").mkdir()
    (site.folder / ".writing" / MANIFEST).write_text("{}")
    status, text, _ = site.get("/")
    assert status == 200
    assert f"/run/{first}" not in text
    assert f"/run/{second}" not in text
    assert f"/run/{third}" in text


def test_a_browser_is_told_when_a_run_ends(site: Site) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
    connection.request("GET", "/changes", headers={"Cookie": f"{COOKIE}={TOKEN}"})
    answer = connection.getresponse()
    assert answer.readline() == b": connected\n"
    source = site.folder / run_ids(site.folder)[0]
    shutil.copytree(source, site.folder / "another")
    answer.readline()
    assert answer.readline() == b"data: changed\n"
    connection.close()
    assert "/run/" in site.get("/")[1]


def test_an_empty_folder_is_served_too(tmp_path: Path) -> None:
    site = Site(tmp_path / "absent")
    try:
        status, text, _ = site.get("/")
    finally:
        site.close()
    assert status == 200
    assert "No run has finished yet" in text


def test_the_command_prints_its_address_and_ends_by_ctrl_c(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "backtest", "open", str(tmp_path), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        assert it.stdout is not None
        address = it.stdout.readline().strip()
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=([\w-]{32})", address)
        assert found is not None
        deadline = time.monotonic() + 30
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=10)
                connection.request("GET", f"/?token={found[2]}")
                assert connection.getresponse().status == 303
                break
            except ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        connection.close()
        it.send_signal(signal.SIGINT)
        _, errors = it.communicate(timeout=30)
    assert it.returncode == 130
    assert "Traceback" not in errors


def test_a_port_in_use_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from backtest.cli import main

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit) as caught:
            main(["open", str(tmp_path), "--no-browser", "--port", port])
    assert caught.value.code == 2
    assert "can listen on port" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_shows_the_runs_without_complaint(site: Site, tmp_path: Path) -> None:
    assert BROWSER is not None
    command = [
        BROWSER, *[option for option in QUIET if "virtual-time" not in option], "--timeout=3000",
        f"--user-data-dir={tmp_path / 'profile'}",
        f"http://127.0.0.1:{site.port}/?token={TOKEN}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert "Pick runs to compare them" in done.stdout
    assert done.stdout.count('type="checkbox"') == len(run_ids(site.folder))
