"""The times between chunks, counted in buckets: a histogram that costs a third of a microsecond a chunk.

OpenTelemetry's own takes five, as much as relaying a chunk does.
"""

from bisect import bisect_left

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # a value on a bound is below it


class Gaps:
    __slots__ = ("buckets", "count", "longest", "shortest", "sum")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.count = 0
        self.sum = 0.0
        self.shortest = 0.0
        self.longest = 0.0

    def add(self, gap_s: float, together: int) -> None:
        """One chunk after `gap_s`, and so many more that came together with it."""
        self._bounds(0.0 if together else gap_s, gap_s)
        self.buckets[bisect_left(BOUNDS_S, gap_s)] += 1
        self.buckets[0] += together
        self.count += 1 + together
        self.sum += gap_s

    def merge(self, other: "Gaps") -> None:
        if other.count:
            self._bounds(other.shortest, other.longest)
            self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]
            self.count += other.count
            self.sum += other.sum

    def _bounds(self, shortest: float, longest: float) -> None:
        if not self.count or shortest < self.shortest:
            self.shortest = shortest
        self.longest = max(self.longest, longest)
