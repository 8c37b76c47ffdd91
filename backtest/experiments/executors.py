"""What an executor is: it carries out the jobs of a sweep, somewhere.

Jobs and their outcomes are plain text and numbers: a run's configuration goes out, its id comes
back, and everything large stays in the folder of runs, which all workers share.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from backtest.core.hashing import package_sha256


@dataclass(frozen=True, slots=True)
class Setup:
    """What all jobs of a sweep have in common.

    Attributes:
        folder: the working folder, against which paths in configurations are read.
        runs: folder of run folders.
        plugins: files to load as plugins.
        disabled: plugins to leave out.
        build: digest of the package that planned the jobs; another build must not carry them out.
        accelerated: whether a run wants a device other than the CPU.
        timeout_ns: how long a job may take in its worker, ns; ``None``: as long as it likes.
    """

    folder: str
    runs: str
    plugins: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()
    build: str = ""
    accelerated: bool = False
    timeout_ns: int | None = None

    @classmethod
    def of(
        cls,
        runs: Path,
        plugins: Iterable[Path],
        disabled: Iterable[str],
        devices: Iterable[str],
        timeout_ns: int | None = None,
    ) -> Setup:
        """The setup of jobs that this process plans.

        Args:
            runs, plugins, disabled, timeout_ns: as the attributes.
            devices: those that the runs want.
        """
        return cls(
            folder=str(Path.cwd()),
            runs=str(runs.resolve()),
            plugins=tuple(str(path.resolve()) for path in plugins),
            disabled=tuple(disabled),
            build=package_sha256(),
            accelerated=any(not device.startswith("cpu") for device in devices),
            timeout_ns=timeout_ns,
        )

    def to_json(self) -> str:
        """Text for ``from_json``."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Setup:
        """The setup that ``to_json`` wrote."""
        values = json.loads(text)
        values["plugins"], values["disabled"] = tuple(values["plugins"]), tuple(values["disabled"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to do.

    Attributes:
        number: identifies the job within its sweep.
        task: ``plan`` a run (see ``Engine.plan``), carry it out, or ``probe`` what it costs.
        config: the run's configuration, as JSON has it.
    """

    number: int
    task: Literal["plan", "run", "probe"]
    config: dict[str, Any]

    def to_json(self) -> str:
        """One line of text for ``from_json``."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The job that ``to_json`` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job: a result, or the error that it ended with.

    Attributes:
        job: the number of the job.
        result: what the task returned, as JSON values; ``None`` if it failed.
        error: why it failed, as text for users; ``None`` if it did not.
    """

    job: int
    result: dict[str, Any] | None
    error: str | None = None

    def to_json(self) -> str:
        """One line of text for ``from_json``."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        """The outcome that ``to_json`` wrote."""
        return cls(**json.loads(text))


def overdue(timeout_ns: int) -> str:
    """The error of a job that was set aside because it took longer than it may."""
    from backtest.core.times import format_span  # numpy, which --help does without

    return f"set aside: it had not ended after {format_span(timeout_ns)}, and its worker was killed"


class Executor(ABC):
    """Carries out jobs; subclass it as a dataclass of parameters.

    A job whose worker dies is tried again; one that keeps killing workers ends with an error. A job
    may therefore run twice, which does no harm: a run is put in place whole, under its own id.
    """

    slots: int = 1
    """Number of jobs executed at once; set by ``open``."""

    limits_time: ClassVar[bool] = False
    """Whether it sets aside jobs that take longer than ``Setup.timeout_ns``, whatever they do."""

    @abstractmethod
    def open(self, setup: Setup) -> None:
        """Make ready. Called once, before ``submit``.

        Raises:
            UsageError: what the sweep needs is not to be had here.
        """

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Take a job; called for at most ``slots`` jobs at a time."""

    @abstractmethod
    def wait(self) -> list[Outcome]:
        """Block until jobs are done, and return their outcomes; called while there are some."""

    @abstractmethod
    def close(self) -> None:
        """Stop at once, whatever is being done."""
