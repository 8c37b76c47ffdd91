"""Sources: plugins that import other formats as canonical Parquet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from backtest.core.atomic import new_folder
from backtest.core.parameters import as_table
from backtest.core.text import suggested_path
from backtest.errors import DataError


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of the rows of an input.

    Attributes:
        read: rows in the input.
        written: events in the dataset.
        refused: rows left out, by reason.
        repaired: values or rows that were changed, by what was done.
        ignored: files left out, by reason.
        depth: if the input has depth: its rows ``read``, the rows of depth ``written``, and how
            many of the events are ``quotes`` taken from it.
    """

    read: int
    written: int
    refused: Mapping[str, int] = field(default_factory=dict)
    repaired: Mapping[str, int] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)
    depth: Mapping[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values; ``depth`` where there is some."""
        values = asdict(self)
        return values if self.depth else {k: v for k, v in values.items() if k != "depth"}


class Source(ABC):
    """One foreign format; subclass it as a dataclass of parameters."""

    @abstractmethod
    def ingest(self, input: Path, output: Path) -> IngestReport:
        """Write the input as a dataset.

        Args:
            input: a file or folder in the source's format.
            output: an empty folder, to be filled with a ``CanonicalWriter``.

        Raises:
            DataError: the input is not in the format, or holds what may not be left out silently.
        """


def ingest(
    name: str, source: Source, input: Path, output: Path, *, overwrite: bool = False
) -> IngestReport:
    """Make a dataset folder from an input, whole or not at all.

    The card's notes record where the data came from and what happened to its rows.

    Args:
        name: the source's registered name.
        source: the source with its parameters.
        input: a file or folder in the source's format.
        output: the folder to make.
        overwrite: replace a dataset that is already there.

    Raises:
        DataError: there is no such input, the source refuses it, or ``output`` is there already
            or cannot be written.
    """
    # Sources are imported whenever plugins are listed: what is slow to import waits until here.
    from pydantic import ValidationError

    from backtest.data.canonical import MENDED
    from backtest.data.card import CARD_NAME, read_card, refusal, write_card

    if not input.exists():
        raise DataError(
            "no such file or folder", place=str(input), remedy=suggested_path(Path(input))
        )
    if not input.is_file() and not input.is_dir():
        raise DataError(
            "the input is no regular file or folder",
            place=str(input),
            remedy="Inputs are read more than once: write what a pipe gives to a file first.",
        )
    with new_folder(output, marker=CARD_NAME, overwrite=overwrite) as folder:
        try:
            report = source.ingest(input, folder)
        except ValidationError as error:
            # A card is made of what the input holds: its columns, its symbols, its grids.
            raise refusal(error, place=f"{input}: the card that it would have") from None
        card = read_card(folder / CARD_NAME)
        # What the writer took out is reported with what the source repaired.
        mended = card.notes.pop(MENDED, {})
        report = replace(report, repaired=dict(Counter(report.repaired) + Counter(mended)))
        parameters = {k: v for k, v in as_table(source, name).items() if v is not None}
        notes = {"ingest": {"source": parameters, "input": input.name, **report.as_dict()}}
        write_card(folder, card.model_copy(update={"notes": card.notes | notes}))
    return report
