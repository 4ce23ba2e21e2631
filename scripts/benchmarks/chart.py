"""Results as a picture: a bar for each comparison, and one line that all are to reach."""

from html import escape

from .report import asked

WIDTH, MARGIN, TOP, ROW, BAR = 920, 16, 78, 30, 16
# Where bars begin, where the line stands, and where they are cut off.
LEFT, LINE, RIGHT = 380, 530, 680
# Written out for both, since not every program that shows pictures knows variables.
LIGHT = {"paper": "#ffffff", "ink": "#1f2328", "quiet": "#59636e",
         "ok": "#2da44e", "short": "#d4601f", "plain": "#6e7f94"}
DARK = {"paper": "#0d1117", "ink": "#e6edf3", "quiet": "#9198a1",
        "ok": "#3fb950", "short": "#f0883e", "plain": "#8b9bb0"}
SHAPES = """
text { font: 13px sans-serif } .title { font-size: 17px; font-weight: bold } .quiet { font-size: 12px }
line { stroke-width: 1.5 }
"""
WORDS = {"speed": "× as fast", "time": "× as long"}


def _colours(of):
    fills = " ".join(f".{kind} {{ fill: {colour} }}" for kind, colour in of.items())
    return (f"text {{ fill: {of['ink']} }} {fills}"
            f" .line {{ stroke: {of['ink']} }} .spread {{ stroke: {of['quiet']} }}")


STYLE = f"{SHAPES}{_colours(LIGHT)}\n@media (prefers-color-scheme: dark) {{ {_colours(DARK)} }}\n"


def as_svg(results):
    """The comparisons that were measured. A bar that goes past the line has what is asked for."""
    rows = [each for each in results.comparisons if each.figure is not None]
    bottom = TOP + ROW * len(rows)
    height = bottom + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}" role="img">',
        f"<title>{escape(results.area)}: {escape(results.title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        _text(MARGIN, 30, f"{results.area}: {results.title}", "title"),
        _text(MARGIN, 52, results.machine, "quiet"),
    ]
    for number, comparison in enumerate(rows):
        parts += _row(TOP + ROW * number, comparison)
    parts += [
        f'<line class="line" x1="{LINE}" x2="{LINE}" y1="{TOP - 6}" y2="{bottom}"/>',
        _text(LINE, bottom + 18, "what is asked for; without a target, the other side", "quiet", "middle"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _row(top, comparison):
    kind = {None: "plain", True: "ok", False: "short"}[comparison.is_met()]
    end = _place(comparison.share(comparison.figure))
    middle = top + BAR / 2
    unit = WORDS.get(comparison.kind) or comparison.series.unit
    text = f"{comparison.figure:.3g} {unit}"
    if comparison.target is not None:
        text += f", {asked(comparison)}"
    yield _text(LEFT - 10, middle + 4.5, comparison.label, "ink", "end")
    yield f'<rect class="{kind}" x="{LEFT}" y="{top}" width="{end - LEFT:.1f}" height="{BAR}"/>'
    if end == RIGHT:
        # It goes on beyond what fits.
        yield f'<path class="{kind}" d="M{RIGHT + 3} {top} l8 {BAR / 2} l-8 {BAR / 2} z"/>'
    else:
        # How far the rounds lie apart.
        ends = sorted(_place(comparison.share(each)) for each in (comparison.lowest, comparison.highest))
        yield (f'<line class="spread" x1="{ends[0]:.1f}" x2="{ends[1]:.1f}"'
               f' y1="{middle}" y2="{middle}"/>')
    yield _text(RIGHT + 18, middle + 4.5, text, "ink")


def _place(share):
    return min(LEFT + (LINE - LEFT) * share, RIGHT)


def _text(x, y, text, kind="", anchor="start"):
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
