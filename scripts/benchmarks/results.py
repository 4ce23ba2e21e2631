"""What an area has measured, and what it is compared with.

Everything measured is such that less is better: seconds, mostly. A comparison is one of three:

    speed   how many times as fast as the other: 0.95 of it, or more
    time    how many times as long as the other takes: 0.75 of it, or less
    value   the thing itself: 100 ms, or less
"""

from dataclasses import dataclass, field
from statistics import median


@dataclass
class Series:
    """What one side came to at one piece of work, round by round."""

    what: str
    side: str
    unit: str
    values: list = field(default_factory=list)


@dataclass
class Comparison:
    """One series beside another, or alone, and what is asked of it. The lowest and the highest are
    those of the rounds, each compared with the same round of the other."""

    label: str
    kind: str
    series: Series
    against: Series
    target: float
    figure: float = None
    lowest: float = None
    highest: float = None

    def __post_init__(self):
        if not self.series or not (self.against or self.kind == "value"):
            return
        mine = self.series.values
        others = self.against.values if self.against else [1] * len(mine)
        upside_down = self.kind == "speed"
        rounds = [b / a if upside_down else a / b for a, b in zip(mine, others)]
        self.lowest, self.highest = min(rounds), max(rounds)
        both = median(mine), median(others)
        self.figure = both[1] / both[0] if upside_down else both[0] / both[1]

    def is_met(self):
        """Whether what is asked for is there; None when nothing is asked for, or nothing was measured."""
        if self.figure is None or self.target is None:
            return None
        return self.figure >= self.target if self.kind == "speed" else self.figure <= self.target

    def share(self, figure):
        """How much this is of what is asked for: 1 is just enough. Where nothing is asked for, as much as
        the other side has is."""
        target = 1 if self.target is None else self.target
        return figure / target if self.kind == "speed" else target / max(figure, target / 1000)


class Results:
    """What an area notes."""

    def __init__(self, area, rounds, machine):
        self.area = area
        self.title = area
        self.rounds = rounds
        self.machine = machine
        self.comparisons = []
        self.round = 0
        self._series = {}

    def note(self, what, side, value, unit="s"):
        """Notes what came out of this round. Round 0 only warms."""
        if self.round > 0:
            sides = self._series.setdefault(what, {})
            sides.setdefault(side, Series(what, side, unit)).values.append(value)

    def series(self):
        """All of them: what was measured in the order in which that began, side by side."""
        return [series for sides in self._series.values() for series in sides.values()]

    def _find(self, what, side):
        return self._series.get(what, {}).get(side)

    def compare(self, kind, what, side, against=None, target=None, other_what=None):
        """Compares `what` of a side with the same, or with `other_what`, of the side `against`."""
        mine, other = self._find(what, side), self._find(other_what or what, against)
        label = label_of(what, side, other_what, against)
        self.comparisons.append(Comparison(label, kind, mine, other, target))


def label_of(what, side, other_what, against):
    """What is compared, in words."""
    if against is None:
        return f"{what}: {side}"
    if other_what is None:
        return f"{what}: {side} / {against}"
    return f"{what} ({side}) / {other_what} ({against})"
