"""Charts for mails, as PNG images; matplotlib is heavy to load and is loaded only when one is drawn.

Its caches go where MPLCONFIGDIR says, else below the home, else to a temporary folder.
"""

from collections.abc import Sequence
from datetime import date
from io import BytesIO
from typing import TYPE_CHECKING

from commerce.mail.render import DECIMALS, MONTHS, SYMBOLS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 544, 210  # pixels of a mail; the image has DENSITY times as many
DENSITY = 2
DOTS_PER_INCH = 100 * DENSITY
DAYS = 30  # room on the x axis
WEEK = 7
STRONG, PALE, INK, MUTED, LINE = "#2563eb", "#93c5fd", "#111827", "#6b7280", "#e5e7eb"
FONT_SIZE = 7.5  # points
UNITS = {10**12: "tn", 10**9: "bn", 10**6: "m", 10**3: "k"}


def revenue_chart(points: Sequence[tuple[date, int | None]], currency: str) -> bytes:
    """Return a PNG image of revenue per day, the last day highlighted; it blocks for as long as it draws.

    `points`: consecutive days, at least one, with minor units; None, where nothing is known, leaves a gap.
    """
    from matplotlib.figure import Figure

    size = (WIDTH * DENSITY / DOTS_PER_INCH, HEIGHT * DENSITY / DOTS_PER_INCH)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    known = {
        x: amount / 10.0 ** DECIMALS.get(currency, 2) for x, (_, amount) in enumerate(points) if amount is not None
    }
    _bars(axes, known, last=len(points) - 1)
    _days(axes, [day for day, _ in points])
    _money(axes, max(known.values(), default=0), currency)
    image = BytesIO()
    figure.savefig(image, format="png", metadata={"Software": None})  # by Agg, which needs no screen
    return image.getvalue()


def _bars(axes: "Axes", heights: dict[int, float], *, last: int) -> None:
    """Draw a bar per day; its edge keeps one of height zero visible."""
    colors = [STRONG if x == last else PALE for x in heights]
    bars = axes.bar(list(heights), list(heights.values()), width=0.7, color=colors, edgecolor=colors, linewidth=1.2)
    for bar in bars:
        bar.set(zorder=3, clip_on=False)


def _days(axes: "Axes", days: Sequence[date]) -> None:
    """Name the last day and those whole weeks before it."""
    named = range(len(days) - 1, -1, -WEEK)
    axes.set_xlim(min(0, len(days) - DAYS) - 0.7, len(days) - 0.3)
    axes.set_xticks(list(named), [f"{days[x].day} {MONTHS[days[x].month - 1]}" for x in named])
    axes.tick_params(axis="x", length=0, pad=4, labelsize=FONT_SIZE, labelcolor=MUTED)
    axes.get_xticklabels()[0].set(color=INK, fontweight="bold")


def _money(axes: "Axes", highest: float, currency: str) -> None:
    """Name a few round amounts, from zero to one that no bar exceeds; just zero when there is nothing else."""
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(0, highest) if highest else [0]
    axes.set_yticks(ticks, [short_money(tick, currency) for tick in ticks])
    axes.set_ylim(0, ticks[-1] or 1)
    axes.tick_params(axis="y", length=0, pad=4, labelsize=FONT_SIZE, labelcolor=MUTED)
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set(color=LINE, linewidth=0.8)


def short_money(amount: float, currency: str) -> str:
    """Return an amount of whole units as an axis has room for it, such as `£2.5k` or `1bn JPY`."""
    size = next((size for size in UNITS if amount >= size), 1)
    scaled = round(amount / size, 3)
    number = f"{scaled:,.2f}" if size == 1 and scaled % 1 else f"{scaled:,g}{UNITS.get(size, '')}"
    symbol = SYMBOLS.get(currency)
    return f"{symbol}{number}" if symbol else f"{number} {currency}"
