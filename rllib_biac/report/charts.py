"""Charts as inline SVG. Colours are CSS variables of the page, so they follow its light or dark mode."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

Curve = list[tuple[float, float]]

COLOURS = 7
"""The page defines `--c1` to `--c7`, told apart by people of any colour vision, and `--c0`, a grey, for the rest."""

_WIDTH, _HEIGHT = 360, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 12, 10, 34
_POINTS = 300  # drawn per line: more than there are pixels
_DECADES = 3  # from which on a positive metric is drawn on a logarithmic axis


@dataclass(frozen=True)
class Entry:
    """A line of a legend: its name, the number of its colour, how it is drawn (line, dashed, area), its last value."""

    name: str
    colour: int
    drawn: str
    last: str


@dataclass(frozen=True)
class Chart:
    """A chart with its title, legend and note."""

    title: str
    svg: Markup
    legend: list[Entry]
    note: str = ""


def number(value: float) -> str:
    """Formats a number for a reader: four digits, separated thousands, no empty decimals."""
    if not math.isfinite(value):
        return str(value)
    if value and abs(value) < 1e-3:
        return f"{value:.2g}".replace("e-0", "e-").replace("-", "−")
    digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
    text = f"{value:,.{min(digits, 4)}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")


def numbers_like(values: Sequence[float], digits: int = 4) -> Callable[[float], str]:
    """Returns a format for the numbers of one column or table. The largest number gets `digits` digits."""
    known = [abs(value) for value in values if math.isfinite(value)]
    if not known or all(value == round(value) for value in known) or max(known) < 1e-3:
        return number
    decimals = min(max(0, digits - 1 - math.floor(math.log10(max(known)))), 4)
    return lambda value: f"{round(value, decimals) + 0.0:,.{decimals}f}".replace("-", "−")


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Returns the mean of curves where all of them are defined, linear between their points."""
    curves = [curve for curve in curves if curve]
    if len(curves) < 2:
        return curves[0] if curves else []
    low, high = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    xs = np.unique([x for curve in curves for x, _ in curve if low <= x <= high])
    if not xs.size:
        return []
    mean = np.mean([_at(curve, xs) for curve in curves], axis=0)
    return list(zip(xs.tolist(), mean.tolist(), strict=True))


def _at(curve: Curve, xs: np.ndarray) -> np.ndarray:
    known = np.asarray(curve)
    return np.interp(xs, known[:, 0], known[:, 1])


def line_chart(
    title: str, lines: dict[str, list[Curve]], note: str = "", alike: Sequence[float] = (), error: bool = False
) -> Chart | None:
    """Draws curves over env steps: one colour per name, each trial a thin line under the bold mean of all.

    Args:
        title: of the chart.
        lines: name -> the curves of all trials; names without any keep their colour from chart to chart.
        note: what a reader has to know.
        alike: further values that the vertical axis has to hold, so that charts beside each other compare.
        error: whether this is an error that ought to vanish, so that a logarithmic axis may serve.

    Returns:
        The chart, None if there is nothing to draw.
    """
    lines = {name: [curve for curve in curves if curve] for name, curves in lines.items()}
    points = [point for curves in lines.values() for curve in curves for point in curve]
    if not points:
        return None
    values = [y for _, y in points] + list(alike)
    floor = min((y for y in values if y > 0), default=1.0)
    logarithmic = error and min(values) >= 0 and max(values) > 10**_DECADES * floor
    ys = [math.log10(max(y, floor)) for y in values] if logarithmic else values
    axes = _Axes([x for x, _ in points], ys, floor if logarithmic else None)
    parts, legend, told = [axes.svg()], [], []
    for index, (name, curves) in enumerate(lines.items()):
        # Equal curves are common in cooperative games. Dashes let the lower curve show.
        if not curves:
            continue
        style = f"stroke:var(--c{1 + index % COLOURS})" + (";stroke-dasharray:5 4" if index % 2 else "")
        mean = mean_curve(curves)
        if len(curves) > 1:
            parts += [f'<path class="thin" style="{style}" d="{axes.path(curve, len(curves))}"/>' for curve in curves]
        last = number(mean[-1][1] if mean else curves[0][-1][1])
        parts.append(f'<path class="line" style="{style}" d="{axes.path(mean)}"><title>{escape(name)}</title></path>')
        legend.append(Entry(name, 1 + index % COLOURS, "dashed" if index % 2 else "line", last))
        told.append(f"{name} ends at {last}")
    if logarithmic:
        zeros = "; zeros stand at its lower end" if min(values) == 0 else ""
        note = f"{note} Logarithmic axis{zeros}.".strip()
    return Chart(title, _picture(f"{title} over env steps: {'; '.join(told)}.", parts), legend, note)


@dataclass(frozen=True)
class Band:
    """The mean of several runs over env steps, with its 95% interval; NaN where one run alone is there."""

    xs: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def band_chart(title: str, bands: dict[str, Band | None], note: str = "", percent: bool = False) -> Chart | None:
    """Draws one line per name with its 95% interval as a band; names without a band keep their colour.

    Returns:
        The chart, None if there is nothing to draw.
    """
    drawn = [band for band in bands.values() if band is not None]
    if not drawn:
        return None
    values = np.concatenate([part for band in drawn for part in (band.mean, band.low, band.high)])
    ys = [0.0, 1.0] if percent else values[np.isfinite(values)].tolist()
    axes = _Axes(np.concatenate([band.xs for band in drawn]).tolist(), ys, percent=percent)
    form: Callable[[float], str] = "{:.0%}".format if percent else numbers_like([float(b.mean[-1]) for b in drawn])
    areas, lines, legend, told = [], [], [], []
    for index, (name, band) in enumerate(bands.items()):
        if band is None:
            continue
        colour, dashed = 1 + index % COLOURS, index >= COLOURS
        upper, lower = _points(band.xs, band.high), _points(band.xs, band.low)
        if upper:
            outline = f"{axes.path(upper)}L{axes.path(lower[::-1])[1:]}Z"
            areas.append(f'<path class="band" style="fill:var(--c{colour})" d="{outline}"/>')
        style = f"stroke:var(--c{colour})" + (";stroke-dasharray:5 4" if dashed else "")
        path = axes.path(_points(band.xs, band.mean))
        lines.append(f'<path class="line" style="{style}" d="{path}"><title>{escape(name)}</title></path>')
        last = form(float(band.mean[-1]))
        legend.append(Entry(name, colour, "dashed" if dashed else "line", last))
        told.append(f"{name} ends at {last}")
    return Chart(
        title, _picture(f"{title} over env steps: {'; '.join(told)}.", [axes.svg(), *areas, *lines]), legend, note
    )


def _points(xs: np.ndarray, ys: np.ndarray) -> Curve:
    return [(float(x), float(y)) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]


def share_chart(title: str, shares: dict[str, list[Curve]], note: str = "") -> Chart | None:
    """Stacks shares, 0 to 1, over env steps: the mean over trials, the smallest shares are added up as `other`."""
    means = {name: mean for name, curves in shares.items() if (mean := mean_curve(curves))}
    if not means:
        return None
    at = np.unique([x for mean in means.values() for x, _ in mean])
    xs = at.tolist()
    values = {name: _at(mean, at) for name, mean in means.items()}
    order = sorted(values, key=lambda name: (-values[name][-1], -values[name].sum()))
    stack = {name: values[name] for name in order[: COLOURS - (len(order) > COLOURS)]}
    if rest := [values[name] for name in order[len(stack) :]]:
        stack["other"] = np.sum(rest, axis=0)
    axes = _Axes(xs, [0.0, 1.0], percent=True)
    below, parts, legend, told = np.zeros(len(xs)), [], [], []
    for index, (name, share) in enumerate(stack.items()):
        colour = 0 if name == "other" and rest else 1 + index
        upper = list(zip(xs, (below + share).tolist(), strict=True))
        lower = list(zip(xs, below.tolist(), strict=True))
        outline = f"{axes.path(upper)}L{axes.path(lower[::-1])[1:]}Z"
        parts.append(
            f'<path class="area" style="fill:var(--c{colour})" d="{outline}"><title>{escape(name)}</title></path>'
        )
        legend.append(Entry(name, colour, "area", f"{share[-1]:.0%}"))
        told.append(f"{name} {share[-1]:.0%}")
        below = below + share
    return Chart(
        title, _picture(f"{title} over env steps; at the end {', '.join(told)}.", [*parts, axes.svg()]), legend, note
    )


class _Axes:
    """Maps data to the picture's coordinates and draws the frame."""

    def __init__(
        self, xs: Sequence[float], ys: Sequence[float], floor: float | None = None, percent: bool = False
    ) -> None:
        # With a floor, the least positive value, the vertical axis is logarithmic and `ys` are logarithms.
        self._floor, self._percent = floor, percent
        self._x_ticks, self._y_ticks = _ticks(min(0.0, *xs), max(xs)), _ticks(min(ys), max(ys), whole=floor is not None)
        self._x = (min(0.0, *xs), max(xs) or 1.0)
        self._y = (min(ys), max(ys)) if percent else (self._y_ticks[0], self._y_ticks[-1])

    def _at(self, x: float, y: float) -> tuple[float, float]:
        (x0, x1), (y0, y1) = self._x, self._y
        across = (x - x0) / (x1 - x0 or 1.0)
        up = (y - y0) / (y1 - y0 or 1.0)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    def path(self, curve: Curve, beside: int = 1) -> str:
        """Returns a curve's path; with many curves `beside` each other, fewer points of each."""
        most = max(40, min(_POINTS, 4000 // beside))
        if len(curve) > most:
            curve = [curve[i] for i in np.linspace(0, len(curve) - 1, most).round().astype(int)]
        at = [self._at(x, y if self._floor is None else math.log10(max(y, self._floor))) for x, y in curve]
        if len(at) == 1:  # a single report: a dot, drawn by its round ends
            at = at * 2
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in at) if at else ""

    def svg(self) -> str:
        left, right, bottom = _LEFT, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        parts = []
        for tick in self._y_ticks:
            _, y = self._at(0, tick)
            text = f"{tick:.0%}" if self._percent else _short(tick if self._floor is None else 10**tick)
            parts.append(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>')
            parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
        for tick in self._x_ticks:
            x, _ = self._at(tick, 0)
            if x <= right + 1:
                anchor = "end" if x > right - 12 else "middle"
                parts.append(f'<path class="tick" d="M{x:.1f} {bottom}v4"/>')
                parts.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="{anchor}">{_short(tick)}</text>')
        parts.append(f'<path class="axis" d="M{left} {bottom}H{right}"/>')
        parts.append(f'<text x="{(left + right) / 2}" y="{_HEIGHT - 2}" text-anchor="middle">env steps</text>')
        return "".join(parts)


def _ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Returns about five round numbers around a range."""
    if high - low < 1e-12 * max(1.0, abs(high)):
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    step = max(1.0, round(step)) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _short(value: float) -> str:
    """Returns a tick's label, about five characters at most."""
    for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g}{suffix}".replace("-", "−")
    if 0 < abs(value) < 1e-3:
        return f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-").replace("-", "−")
    return f"{value:.4g}".replace("-", "−")


def _picture(told: str, parts: list[str]) -> Markup:
    label = escape(told)
    return Markup(f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>')
