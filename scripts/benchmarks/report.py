"""Results as text, and as JSON."""

import json
from statistics import median

# How many digits each unit is worth.
DIGITS = {"s": 4, "ms": 2, "µs": 2, "MB": 1}
WORD = {"speed": "at least", "time": "at most", "value": "at most"}


def as_text(results):
    """Two tables: what was measured, and what that comes to."""
    lines = ["", f"{results.area}: {results.title}", results.machine, ""]
    wide = 2 + max([len(series.what) for series in results.series()], default=0)
    side = 1 + max([len(series.side) for series in results.series()], default=0)
    lines.append(f"{'':{wide}}{'':{side}}{'median':>12}{'min':>12}{'max':>12}")
    for series in results.series():
        numbers = median(series.values), min(series.values), max(series.values)
        shown = "".join(f"{number:12.{DIGITS[series.unit]}f}" for number in numbers)
        lines.append(f"{series.what:{wide}}{series.side:{side}}{shown} {series.unit}")
    wide = 2 + max([len(each.label) for each in results.comparisons], default=0)
    lines += ["", f"{'':{wide}}{'':6}{'figure':>9}{'lowest':>9}{'highest':>9}"]
    for each in results.comparisons:
        lines.append(f"{each.label:{wide}}{each.kind:6}{_compared(each)}")
    return "\n".join(lines)


def _compared(comparison):
    if comparison.figure is None:
        return f"{'not measured':>27}"
    numbers = comparison.figure, comparison.lowest, comparison.highest
    shown = "".join(f"{number:9.2f}" for number in numbers)
    if comparison.target is None:
        return shown
    return f"{shown}   {asked(comparison)}: {'ok' if comparison.is_met() else 'short'}"


def asked(comparison):
    """What is asked for, in words."""
    unit = f" {comparison.series.unit}" if comparison.kind == "value" and comparison.series else ""
    return f"{WORD[comparison.kind]} {comparison.target:g}{unit}"


def as_json(results, indent=None):
    """All of it, for programs."""
    measured = [
        {
            "what": series.what,
            "side": series.side,
            "unit": series.unit,
            "median": _short(median(series.values)),
            "min": _short(min(series.values)),
            "max": _short(max(series.values)),
            "rounds": [_short(value) for value in series.values],
        }
        for series in results.series()
    ]
    compared = [
        {
            "label": each.label,
            "kind": each.kind,
            "figure": _short(each.figure),
            "min": _short(each.lowest),
            "max": _short(each.highest),
            "target": each.target,
            "met": each.is_met(),
        }
        for each in results.comparisons
    ]
    whole = {
        "area": results.area,
        "title": results.title,
        "machine": results.machine,
        "results": measured,
        "comparisons": compared,
    }
    return json.dumps(whole, indent=indent, ensure_ascii=False)


def _short(number):
    """Five digits say more than any round is worth."""
    return None if number is None else float(f"{number:.5g}")
