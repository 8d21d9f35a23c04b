"""Charts as SVG, made here: a page needs no script for them, and its colours come from the style sheet."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

HEIGHT = 120  # units of the SVG, which is scaled to the width of its place
WIDTH = 720
LEAST = 1.5  # height of a bar that stands for little
GAP = 0.25  # of a bar's place


@dataclass(frozen=True)
class Bar:
    """A bar: what it stands for, how much that is (None: not known), and both in words."""

    label: str
    value: int | None
    text: str


def bar_chart(bars: Sequence[Bar], title: str) -> Markup:
    """Return a bar chart, scaled to its highest bar; negative values are shown as nothing. `title`: what it shows."""
    highest = max((bar.value or 0 for bar in bars), default=0) or 1
    place = WIDTH / max(len(bars), 1)
    shapes = [_shape(bar, index * place, place, highest) for index, bar in enumerate(bars)]
    described = "; ".join(f"{bar.label}: {bar.text}" for bar in bars)
    return Markup(
        '<svg class="chart" viewBox="0 0 {width} {height}" role="img" preserveAspectRatio="none" aria-label="{title}">'
        "<desc>{described}</desc>{shapes}</svg>"
    ).format(width=WIDTH, height=HEIGHT, title=title, described=described, shapes=Markup("").join(shapes))


def _shape(bar: Bar, left: float, place: float, highest: int) -> Markup:
    value = max(bar.value or 0, 0)
    height = max(HEIGHT * value / highest, LEAST if value else 0)
    # The whole column shows what its bar stands for, also where the bar is low.
    return Markup(
        '<g class="{kind}"><title>{label}: {text}</title><rect class="column" x="{left:.2f}" y="0" width="{place:.2f}"'
        ' height="{whole}"/><rect class="bar" x="{inner:.2f}" y="{top:.2f}" width="{width:.2f}" height="{height:.2f}"'
        "/></g>"
    ).format(
        kind="unknown" if bar.value is None else "known",
        label=bar.label,
        text=bar.text,
        left=left,
        place=place,
        whole=HEIGHT,
        inner=left + place * GAP / 2,
        width=place * (1 - GAP),
        top=HEIGHT - height,
        height=height,
    )
