"""Which of many columns a model answers for when they hold something, found out in few predictions.

A prediction of a wide model takes time for each of its columns, so that one prediction for each column would take time
in their square. Columns are therefore asked together, and apart only as far as a budget goes: what is not known then
counts as not taken.
"""

from collections.abc import Callable, Hashable

# Predictions times columns of the model: about a second at most. Up to 44 columns can each be asked by themselves.
BUDGET = 2000
FEWEST = 8  # predictions that even the widest model is asked for
SAMPLE = 3  # columns of a group that speak for it when all of them say no

Names = list[str]


def taken(columns: dict[str, Hashable], width: int, answers: Callable[[Names], bool]) -> set[str]:
    """Return which of these columns the model takes it in; `answers` tells that of several at once.

    Columns come with what makes them alike: those that are alike are asked together. `width` is how many columns the
    model has in all.
    """
    groups: dict[Hashable, Names] = {}
    for name, alike in columns.items():
        groups.setdefault(alike, []).append(name)
    asking = _Asking(answers, max(FEWEST, BUDGET // max(1, width)))
    if asking.takes(list(columns)):
        return set(columns)
    refused = [group for group in groups.values() if len(groups) == 1 or not asking.takes(group)]
    left = set[str]().union(*refused)
    one_by_one = len(left) <= asking.left
    for group in refused:
        left -= asking.each(group) if one_by_one else asking.halves(group)
    return set(columns) - left


class _Asking:
    """The questions that may still be asked."""

    def __init__(self, answers: Callable[[Names], bool], left: int) -> None:
        self._answers = answers
        self._known: dict[tuple[str, ...], bool] = {}
        self.left = left

    def takes(self, names: Names) -> bool:
        """Ask of several columns at once, once; False when nothing may be asked any more."""
        if not names:
            return True
        if (key := tuple(names)) not in self._known:
            if self.left == 0:
                return False
            self.left -= 1
            self._known[key] = self._answers(names)
        return self._known[key]

    def each(self, group: Names) -> set[str]:
        """Return the columns of a group that are taken, each asked by itself."""
        return {name for name in group if self.takes([name])}

    def halves(self, group: Names) -> set[str]:
        """Return the columns of a refused group that are taken, as far as halving it finds out in time."""
        if len(group) <= 1 or self._all_refuse(group):
            return set()
        middle = len(group) // 2
        halves = (group[:middle], group[middle:])
        return set[str]().union(*(half if self.takes(half) else self.halves(half) for half in halves))

    def _all_refuse(self, group: Names) -> bool:
        """Tell whether some columns, spread over a group, are all refused: then they speak for the others."""
        spread = group[:: max(1, (len(group) - 1) // (SAMPLE - 1))]
        return not any(self.takes([name]) for name in spread)
