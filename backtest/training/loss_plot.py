"""The losses of a training as a picture: one SVG file, without scripts."""

from __future__ import annotations

from collections.abc import Sequence

from backtest.training.fitting import Epoch

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 640, 320, 60, 20, 20, 40
_COLOURS = {"training": "#1f77b4", "validation": "#d62728"}


def loss_svg(epochs: Sequence[Epoch], best: int) -> str:
    """Training and validation loss by epoch, the best epoch marked."""
    curves = {
        "training": [e.training for e in epochs],
        "validation": [e.validation for e in epochs],
    }
    low = min(min(c) for c in curves.values())
    high = max(max(c) for c in curves.values())
    margin = (high - low) * 0.05 or 0.05
    low, high = low - margin, high + margin

    def x(epoch: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * epoch / max(len(epochs) - 1, 1)

    def y(loss: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - loss) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
    ]
    for k in range(5):
        loss = low + (high - low) * k / 4
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(loss):.1f}" y2="{y(loss):.1f}" '
            f'stroke="#ddd"/><text x="{_LEFT - 6}" y="{y(loss) + 4:.1f}" text-anchor="end">'
            f"{loss:.3f}</text>"
        )
    for epoch in range(0, len(epochs), max(1, len(epochs) // 10)):
        parts.append(
            f'<text x="{x(epoch):.1f}" y="{_HEIGHT - 22}" text-anchor="middle">{epoch}</text>'
        )
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 6}" text-anchor="middle">epoch</text>')
    for place, (name, losses) in enumerate(curves.items()):
        points = " ".join(f"{x(k):.1f},{y(v):.1f}" for k, v in enumerate(losses))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{_COLOURS[name]}" stroke-width="2"/>'
            f'<text x="{_WIDTH - _RIGHT - 4}" y="{_TOP + 14 + 16 * place}" text-anchor="end" '
            f'fill="{_COLOURS[name]}">{name}</text>'
        )
    parts.append(
        f'<circle cx="{x(best):.1f}" cy="{y(epochs[best].validation):.1f}" r="4" '
        f'fill="{_COLOURS["validation"]}"/></svg>'
    )
    return "\n".join(parts) + "\n"
