"""The losses of a training as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backtest.report.charts import Axis, Chart, Series
from backtest.report.html import paragraph, table
from backtest.report.page import page


def loss_page(name: str, training: Sequence[float], validation: Sequence[float], best: int) -> str:
    """Training and validation loss by epoch.

    Args:
        name: of the weights.
        training, validation: the losses of each epoch, from 0 on.
        best: the epoch whose weights were kept.
    """
    names, losses = ("training", "validation"), (training, validation)
    epochs = np.arange(len(training), dtype=np.float64)
    lines = [
        Series(each, entry, epochs, np.array(of, dtype=np.float64))
        for entry, (each, of) in enumerate(zip(names, losses, strict=True))
    ]
    content = paragraph(
        f"Epoch {best} has the lowest validation loss, {validation[best]:.4g}; its weights were "
        "kept."
    )
    content += Chart("Loss by epoch", Axis("epoch"), Axis("loss"), lines).render()
    rows = [(epoch, *(f"{of[epoch]:.6g}" for of in losses)) for epoch in range(len(training))]
    content += table(("epoch", *names), rows, right=names, caption="Loss by epoch")
    chapters = [{"name": "losses", "title": "Losses", "content": content}]
    return page(f"Training of {name}", f"{len(training)} epochs", chapters, entries=names,
                first=(0, 1))  # fmt: skip
