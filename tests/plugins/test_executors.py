"""Executors carry every job out, whatever becomes of their workers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backtest.core.hashing import package_sha256
from backtest.errors import UsageError
from backtest.experiments.executors import Executor, Job, Outcome, Setup, overdue
from backtest.plugins.executors import local
from backtest.plugins.manager import load_plugins
from tests.sweep_files import write_plugin, write_sweep

ROOT = Path(__file__).parents[2]


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(
        folder=str(tmp_path),
        runs=str(tmp_path / "runs"),
        plugins=(str(write_plugin(tmp_path)),),
        build=package_sha256(),
    )


@pytest.fixture
def config(small_dataset: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "dataset": str(small_dataset),
        "strategy": {"name": "faulty", "log": str(tmp_path / "log")},
        "latency": {"service": "affine:1ms,0.2ms"},
        "undropped": False,
        "limit": 50,
    }


@contextmanager
def opened(text: str, setup: Setup) -> Iterator[Executor]:
    executor: Executor = load_plugins().create("executor", text, place="test")
    executor.open(setup)
    try:
        yield executor
    finally:
        executor.close()


def outcomes(executor: Executor, jobs: list[Job]) -> dict[int, Outcome]:
    """What becomes of jobs, by number."""
    waiting = list(jobs)
    found: dict[int, Outcome] = {}
    while len(found) < len(jobs):
        while waiting and len(jobs) - len(waiting) - len(found) < executor.slots:
            executor.submit(waiting.pop())
        for outcome in executor.wait():
            found[outcome.job] = outcome
    return found


def faulty(config: dict[str, Any], fault: str, times: int) -> dict[str, Any]:
    return config | {"strategy": config["strategy"] | {"fault": fault, "times": times}}


@pytest.mark.parametrize("text", ["inline", "local:workers=1"])
def test_a_run_is_planned_probed_and_carried_out(
    text: str, setup: Setup, config: dict[str, Any]
) -> None:
    with opened(text, setup) as executor:
        first = outcomes(executor, [Job(0, "plan", config)])[0].result
        probed = outcomes(executor, [Job(0, "probe", config)])[0].result
        done = outcomes(executor, [Job(0, "run", config)])[0].result
        again = outcomes(executor, [Job(0, "plan", config)])[0].result
    assert first is not None
    assert probed is not None
    assert again is not None
    assert done == {"id": first["id"]}
    assert (first["finished"], again["finished"]) == (False, True)
    manifest = json.loads(Path(setup.runs, first["id"], "manifest.json").read_text())
    (planned,) = first["predictions"].values()
    recorded = manifest["predictions"]["answers"]
    assert recorded.pop("seconds") > 0
    assert planned == recorded
    assert manifest["seconds"] > 0
    assert probed["manifest"]["partial"]
    assert [path.name for path in Path(setup.runs).iterdir() if "faulty" in path.name] == [
        first["id"]
    ]


@pytest.mark.parametrize("text", ["inline", "local:workers=1"])
@pytest.mark.parametrize(
    ("fault", "message"),
    [("raise", "RuntimeError: no [bold]mood[/bold]"), ("quit", "SystemExit: leaving")],
)
def test_what_a_run_raises_is_its_error_and_the_worker_goes_on(
    text: str, fault: str, message: str, setup: Setup, config: dict[str, Any]
) -> None:
    broken = faulty(config, fault, 1)
    with opened(text, setup) as executor:
        outcome = outcomes(executor, [Job(3, "run", broken)])[3]
        assert outcome.result is None
        assert message in (outcome.error or "")
        assert "faulty.py, line" in (outcome.error or "")
        assert outcomes(executor, [Job(4, "run", broken)])[4].error is None


@pytest.mark.parametrize(("fault", "code"), [("exit", "exited with 3"), ("kill", "signal 9")])
def test_a_dead_worker_is_replaced_and_its_run_tried_again(
    fault: str, code: str, setup: Setup, config: dict[str, Any], tmp_path: Path
) -> None:
    with opened("local:workers=1,retries=1", setup) as executor:
        survivor = outcomes(executor, [Job(0, "run", faulty(config, fault, 1))])[0]
        assert survivor.error is None
        assert len(set((tmp_path / "log").read_text().split())) == 2
        killer = outcomes(executor, [Job(1, "run", faulty(config, fault, 99))])[1]
        assert killer.result is None
        assert "set aside: it killed 2 workers" in (killer.error or "")
        assert code in (killer.error or "")
        assert outcomes(executor, [Job(2, "run", config)])[2].error is None


def test_one_death_leaves_the_other_workers_jobs_alone(
    setup: Setup, config: dict[str, Any], tmp_path: Path
) -> None:
    other = {"name": "faulty", "log": str(tmp_path / "other"), "fault": "slow"}
    jobs = [
        Job(0, "run", faulty(config, "kill", 99)),
        *(Job(n, "run", config | {"strategy": other | {"lean": n}}) for n in (1, 2)),
    ]
    with opened("local:workers=2,retries=0", setup) as executor:
        found = outcomes(executor, jobs)
    assert found[0].error is not None
    assert found[1].error is None
    assert found[2].error is None
    assert len((tmp_path / "other").read_text().split()) == 2


def test_workers_have_one_thread_by_default(setup: Setup, tmp_path: Path) -> None:
    plugin = tmp_path / "threads.py"
    plugin.write_text(
        "import os, backtest\n"
        "names = ('OMP_NUM_THREADS', 'POLARS_MAX_THREADS')\n"
        "raise ValueError([os.environ[n] for n in names])\n"
    )
    threads = Setup(setup.folder, setup.runs, (str(plugin),), (), setup.build)
    for text, message in (("local:1", "['1', '1']"), ("local:1,threads=3", "['3', '3']")):
        with opened(text, threads) as executor:
            error = outcomes(executor, [Job(0, "plan", {})])[0].error
        assert message in (error or "")


def test_another_build_is_refused(setup: Setup, config: dict[str, Any]) -> None:
    other = Setup(setup.folder, setup.runs, setup.plugins, (), "another")
    with opened("inline", other) as executor:
        error = outcomes(executor, [Job(0, "run", config)])[0].error
    assert "another build of backtest" in (error or "")


@pytest.mark.parametrize("text", ["local:workers=0", "local:threads=0", "local:retries=-1"])
def test_numbers_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="must be at least"):
        load_plugins().create("executor", text, place="--executor")


def test_a_gpu_is_shared_by_default_by_no_two_workers(setup: Setup) -> None:
    gpu = Setup(setup.folder, setup.runs, (), (), setup.build, accelerated=True)
    with opened("local", gpu) as executor:
        assert executor.slots == 1
    with opened("local:workers=3", gpu) as executor:
        assert executor.slots == 3


TINY_WORKER = """
import json, signal, sys, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
setup = json.loads(sys.stdin.readline())
time.sleep(setup["disabled"] and 1.5 or 0)
print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    time.sleep(job["config"]["seconds"])
    print(json.dumps({"job": job["number"], "result": {}, "error": None}), flush=True)
"""


def sleeping(seconds: dict[int, float]) -> list[Job]:
    return [Job(number, "run", {"seconds": s}) for number, s in seconds.items()]


def test_a_job_that_takes_longer_than_it_may_is_set_aside(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_PROGRAM", TINY_WORKER)
    limited = replace(setup, timeout_ns=1_000_000_000)
    began = time.monotonic()
    with opened("local:workers=2", limited) as executor:
        found = outcomes(executor, sleeping({0: 60, 1: 0, 2: 0.5, 3: 0.5, 4: 60, 5: 0}))
    assert time.monotonic() - began < 30
    late = "set aside: it had not ended after 1 s, and its worker was killed"
    assert {number: outcome.error for number, outcome in found.items()} == {
        0: late, 1: None, 2: None, 3: None, 4: late, 5: None
    }  # fmt: skip


def test_starting_a_worker_takes_none_of_a_jobs_time(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_PROGRAM", TINY_WORKER)
    limited = replace(setup, timeout_ns=1_000_000_000, disabled=("starts slowly",))
    with opened("local:workers=1", limited) as executor:
        found = outcomes(executor, sleeping({0: 0.1, 1: 0.1}))
    assert [outcome.error for outcome in found.values()] == [None, None]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked up in /proc")
def test_a_run_that_hangs_is_set_aside_whatever_it_ignores(
    setup: Setup, config: dict[str, Any], tmp_path: Path
) -> None:
    """Asleep, deaf to signals and with a child of its own, or holding the interpreter's lock."""
    jobs = [Job(0, "run", config)]
    for number, fault in enumerate(("hang", "ignore", "lock"), 1):
        strategy = {"name": "faulty", "log": str(tmp_path / fault), "fault": fault, "times": 0}
        jobs.append(Job(number, "run", config | {"strategy": strategy}))
    with opened("local:workers=4", replace(setup, timeout_ns=40_000_000_000)) as executor:
        found = outcomes(executor, jobs)
        errors = [found[number].error for number in range(4)]
        assert errors == [None] + 3 * [overdue(40_000_000_000)]
        hung = [
            int(pid)
            for fault in ("hang", "ignore", "lock")
            for pid in (tmp_path / fault).read_text().split()
        ]
        assert len(hung) == 4
        wait_for(lambda: not any(map(alive, hung)))


@pytest.mark.parametrize(("text", "limits"), [("inline", False), ("local", True), ("ray", True)])
def test_which_executors_limit_time(text: str, limits: bool) -> None:
    made = load_plugins().parts("executor")
    assert {part.name: part.component.limits_time for part in made}[text] == limits


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked up in /proc")
def test_workers_end_with_whoever_started_them(
    setup: Setup, config: dict[str, Any], tmp_path: Path
) -> None:
    program = tmp_path / "parent.py"
    endless = faulty(config, "hang", 0)
    program.write_text(
        "import sys\n"
        "from backtest.experiments.executors import Job, Setup\n"
        "from backtest.plugins.executors.local import Local\n"
        "executor = Local(workers=1)\n"
        "executor.open(Setup.from_json(sys.argv[1]))\n"
        "executor.submit(Job.from_json(sys.argv[2]))\n"
        "executor.wait()\n"
        "executor.wait()\n"
    )
    command = [sys.executable, str(program), setup.to_json(), Job(0, "run", endless).to_json()]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}) as parent:
        log = tmp_path / "log"
        wait_for(lambda: log.exists() and log.read_text().strip())
        parent.kill()
    worker = int(log.read_text())
    wait_for(lambda: not alive(worker))


def wait_for(condition: Any, seconds: float = 30) -> None:
    """Return once the condition holds; fail if it does not within the time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_ray_is_refused_without_tokens(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(UsageError, match="RAY_AUTH_MODE=token"), opened("ray:local", setup):
        pass


def test_ray_is_refused_where_runs_want_a_gpu_and_none_is_asked_for(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    gpu = Setup(setup.folder, setup.runs, (), (), setup.build, accelerated=True)
    with pytest.raises(UsageError, match="ray:gpus=1"), opened("ray:local", gpu):
        pass


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a Ray of two CPUs on this machine needs, out of sight of any other."""
    pytest.importorskip("ray")
    # Not tmp_path: the names of Ray's sockets must stay short.
    own = tempfile.mkdtemp(prefix="ray-")
    monkeypatch.setenv("RAY_TMPDIR", own)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "5ec2e7" * 8)
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray's ``auto`` finds any cluster among the machine's processes, even one that is on its way
    # out, so there is one at a time.
    with (Path(tempfile.gettempdir()) / "ticktoll-tests-of-ray").open("w") as one:
        fcntl.flock(one, fcntl.LOCK_EX)
        yield
        deadline = time.monotonic() + 60
        while names_in_processes(own) and time.monotonic() < deadline:
            time.sleep(0.2)
    shutil.rmtree(own, ignore_errors=True)


def names_in_processes(text: str) -> list[str]:
    """Command lines of running processes with a text in them; none where no system tells."""
    lines = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            lines.append(place.read_bytes().decode(errors="replace"))
    return [line for line in lines if text in line]


RAY_JOBS = """
import json, sys
from backtest.experiments.executors import Job, Setup
from backtest.plugins.manager import load_plugins

executor = load_plugins().create("executor", "ray:local,retries=1", place="test")
executor.open(Setup.from_json(sys.argv[1]))
jobs = [Job(**job) for job in json.loads(sys.argv[2])]
for job in jobs:
    executor.submit(job)
outcomes = []
while len(outcomes) < len(jobs):
    outcomes += [outcome.to_json() for outcome in executor.wait()]
executor.close()
print(json.dumps(outcomes))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_ray_tries_a_run_again_whose_worker_was_killed(
    setup: Setup, config: dict[str, Any], tmp_path: Path
) -> None:
    jobs = []
    for number, (fault, times) in enumerate([("none", 0), ("kill", 1), ("exit", 99), ("raise", 9)]):
        log = str(tmp_path / f"log-{number}")
        strategy = {"name": "faulty", "log": log, "fault": fault, "times": times}
        jobs.append({"number": number, "task": "run", "config": config | {"strategy": strategy}})
    program = [sys.executable, "-c", RAY_JOBS, setup.to_json(), json.dumps(jobs)]
    done = subprocess.run(
        program, cwd=ROOT, check=True, capture_output=True, text=True, timeout=240
    )
    found = {o.job: o for o in map(Outcome.from_json, json.loads(done.stdout.splitlines()[-1]))}
    assert found[0].error is None
    assert found[1].error is None
    assert len(set((tmp_path / "log-1").read_text().split())) == 2
    assert "set aside: it killed 2 workers" in (found[2].error or "")
    assert len((tmp_path / "log-2").read_text().split()) == 2
    assert "RuntimeError: no [bold]mood[/bold]" in (found[3].error or "")
    assert len((tmp_path / "log-3").read_text().split()) == 1
    assert {p.name for p in Path(setup.runs).glob("faulty-*")} == {
        (found[n].result or {})["id"] for n in (0, 1)
    }


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_ray_sets_aside_runs_that_hang_and_goes_on(
    setup: Setup, config: dict[str, Any], tmp_path: Path
) -> None:
    jobs = []
    for number, fault in enumerate(("ignore", "lock", "none")):
        strategy = {"name": "faulty", "log": str(tmp_path / fault), "fault": fault, "times": 0}
        jobs.append({"number": number, "task": "run", "config": config | {"strategy": strategy}})
    limited = replace(setup, timeout_ns=40_000_000_000)
    program = [sys.executable, "-c", RAY_JOBS, limited.to_json(), json.dumps(jobs)]
    done = subprocess.run(
        program, cwd=ROOT, check=True, capture_output=True, text=True, timeout=240
    )
    found = {o.job: o for o in map(Outcome.from_json, json.loads(done.stdout.splitlines()[-1]))}
    assert [found[n].error for n in range(3)] == 2 * [overdue(40_000_000_000)] + [None]
    for fault in ("ignore", "lock"):
        assert not alive(int((tmp_path / fault).read_text().split()[0]))


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("executor", "problem"),
    [
        ("ray:local,gpus=64", "no node of the cluster has 1 CPUs and 64 GPUs"),
        ("ray:local,cpus=100000", "no node of the cluster has 100000 CPUs"),
        ("ray:auto", "no Ray cluster can be used"),
    ],
)
def test_ray_reports_what_its_cluster_lacks_before_anything_is_submitted(
    executor: str, problem: str, small_dataset: Path, tmp_path: Path
) -> None:
    file = write_sweep(tmp_path / "sweep.toml", small_dataset, '"imbalance"')
    words = ["sweep", str(file), "--runs", str(tmp_path / "runs"), "--executor", executor]
    done = subprocess.run(
        [sys.executable, "-m", "backtest", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert problem in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_sweep_on_ray_gives_the_same_table(
    setup: Setup, small_dataset: Path, tmp_path: Path
) -> None:
    strategies = f'["imbalance", {{ name = "faulty", log = "{tmp_path}/log", fault = "kill" }}]'
    file = write_sweep(tmp_path / "sweep.toml", small_dataset, strategies)
    tables = []
    for executor in ("ray:local", "inline"):
        words = ["sweep", str(file), "--executor", executor, "--plugin", setup.plugins[0]]
        done = subprocess.run(
            [sys.executable, "-m", "backtest", *words, "--runs", str(tmp_path / executor[:3])],
            cwd=ROOT, capture_output=True, text=True, timeout=240, check=True,
        )  # fmt: skip
        tables.append(done.stdout)
    assert tables[0] == tables[1]
    assert tables[0].count(" done ") == 8


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_ray_is_refused_where_the_cluster_asks_nobody_for_a_token(
    small_dataset: Path, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = [str(Path(sys.executable).with_name("ray")), "start", "--head", f"--port={port}"]
    start += ["--num-cpus=1", "--include-dashboard=false", "--disable-usage-stats", "--block"]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    file = write_sweep(tmp_path / "sweep.toml", small_dataset, '"imbalance"')
    words = ["sweep", str(file), "--runs", str(tmp_path / "runs")]
    words += ["--executor", f"ray:127.0.0.1:{port}"]
    with (tmp_path / "log").open("w") as log:
        head = subprocess.Popen(start, env=environment, stdout=log, stderr=log)
    try:
        wait_for(lambda: "Ray runtime started" in (tmp_path / "log").read_text(), 60)
        done = subprocess.run(
            [sys.executable, "-m", "backtest", *words],
            cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    finally:
        head.terminate()
        head.wait(60)
    assert done.returncode == 2
    assert "no token protects them" in done.stderr
    assert "executor 'ray', node " in done.stderr
