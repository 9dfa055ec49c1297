"""Properties that are computed once, without a lock that instances share."""

from __future__ import annotations

import threading

from service.lazy import lazy

PATIENCE_S = 20.0


class Meeting:
    """Two of them compute their value at the same time, or not at all."""

    def __init__(self, barrier: threading.Barrier) -> None:
        self.barrier = barrier
        self.times = 0

    @lazy
    def value(self) -> int:
        """Its place."""
        self.times += 1
        return self.barrier.wait(PATIENCE_S)


def test_two_instances_are_measured_at_the_same_time_and_each_once() -> None:
    barrier = threading.Barrier(2)
    both = [Meeting(barrier), Meeting(barrier)]
    threads = [threading.Thread(target=lambda one=one: one.value) for one in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert {one.value for one in both} == {0, 1}
    assert [one.times for one in both] == [1, 1]
    assert Meeting.value.__doc__ == "Its place."
