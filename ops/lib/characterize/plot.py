"""Two kinds of plots as SVG: lines over logarithmic axes, and horizontal bars on a logarithmic axis."""

import math
import pathlib
from html import escape

COLOURS = ("#1f6feb", "#d29922", "#2da44e", "#cf222e", "#8250df", "#57606a", "#bf3989", "#0a7ea4")
FONT = 'font-family="sans-serif" font-size="12"'


def _decades(values: list) -> range:
    values = [v for v in values if v > 0]
    return range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9) + 1)


def _number(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _page(width: int, height: int, title: str, parts: list) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">\n'
        f'<rect width="{width}" height="{height}" fill="white"/>\n'
        f'<text x="12" y="22" {FONT} font-weight="bold">{escape(title)}</text>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {FONT} text-anchor="{anchor}" fill="#24292f">{escape(words)}</text>'


def lines(file: pathlib.Path, title: str, x_name: str, y_name: str, series: dict):
    """`series`: name -> [(x, y), ...]; both axes logarithmic."""
    width, height, left, top, right, bottom = 760, 400, 70, 40, 250, 50
    points = [p for line in series.values() for p in line]
    xs, ys = _decades([x for x, _ in points]), _decades([y for _, y in points])

    def at(x, y):
        across = (math.log10(x) - xs[0]) / (xs[-1] - xs[0])
        up = (math.log10(y) - ys[0]) / (ys[-1] - ys[0])
        return left + across * (width - left - right), height - bottom - up * (height - top - bottom)

    parts = []
    for decade in xs:
        x, _ = at(10.0**decade, 10.0 ** ys[0])
        parts.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{height - bottom}" stroke="#d0d7de"/>')
        parts.append(_text(x, height - bottom + 18, _number(10.0**decade), "middle"))
    for decade in ys:
        _, y = at(10.0 ** xs[0], 10.0**decade)
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{width - right}" y2="{y:.1f}" stroke="#d0d7de"/>')
        parts.append(_text(left - 6, y + 4, _number(10.0**decade), "end"))
    parts.append(_text((left + width - right) / 2, height - 12, x_name, "middle"))
    parts.append(_text(12, top - 4, y_name))
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [at(x, max(y, 10.0 ** ys[0])) for x, y in sorted(line)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        y = top + 14 + 18 * number
        parts.append(f'<rect x="{width - right + 14}" y="{y - 9}" width="10" height="10" fill="{colour}"/>')
        parts.append(_text(width - right + 30, y, name))
    file.write_text(_page(width, height, title, parts))


def bars(file: pathlib.Path, title: str, unit: str, names: list, series: dict):
    """`series`: name -> one value for each of `names`; the axis is logarithmic."""
    step, left, top = 14 * len(series) + 8, 300, 60
    width, height = 860, top + step * len(names) + 40
    decades = _decades([v for values in series.values() for v in values])

    def at(value):
        across = (math.log10(max(value, 10.0 ** decades[0])) - decades[0]) / (decades[-1] - decades[0])
        return left + across * (width - left - 70)

    parts = []
    for decade in decades:
        x = at(10.0**decade)
        parts.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{height - 30}" stroke="#d0d7de"/>')
        parts.append(_text(x, height - 12, f"{_number(10.0**decade)} {unit}", "middle"))
    for number, name in enumerate(series):
        parts.append(f'<rect x="{left + 160 * number}" y="33" width="10" height="10" fill="{COLOURS[number]}"/>')
        parts.append(_text(left + 16 + 160 * number, 42, name))
    for row, name in enumerate(names):
        y = top + row * step
        parts.append(_text(left - 8, y + step / 2 + 1, name, "end"))
        for number, values in enumerate(series.values()):
            x, top_of_bar = at(values[row]), y + 2 + 14 * number
            parts.append(
                f'<rect x="{left}" y="{top_of_bar}" width="{max(1.0, x - left):.1f}" height="12" fill="{COLOURS[number]}"/>'
            )
            parts.append(_text(x + 4, top_of_bar + 10, f"{values[row]:,.0f}"))
    file.write_text(_page(width, height, title, parts))
