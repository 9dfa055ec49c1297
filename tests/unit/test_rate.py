"""Token buckets on a clock that the test turns."""

from __future__ import annotations

import pytest

from service.api.limits.rate_limit import RateLimit
from service.errors import RateLimited


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_key_may_use_a_seconds_worth_at_once_and_then_its_rate() -> None:
    clock = Clock()
    rate = RateLimit(4, clock)
    for _ in range(4):
        rate.take("a")
    with pytest.raises(RateLimited) as refused:
        rate.take("a")
    assert refused.value.facts["retry_after_s"] == 0.25
    clock.now += 0.25
    rate.take("a")
    with pytest.raises(RateLimited):
        rate.take("a")


def test_an_idle_key_saves_up_no_more_than_a_second() -> None:
    clock = Clock()
    rate = RateLimit(2, clock)
    clock.now += 1000
    rate.take("a")
    rate.take("a")
    with pytest.raises(RateLimited):
        rate.take("a")


def test_keys_do_not_share_and_a_slow_rate_still_lets_one_through() -> None:
    rate = RateLimit(0.1, Clock())
    rate.take("a")
    rate.take("b")
    with pytest.raises(RateLimited) as refused:
        rate.take("a")
    assert refused.value.facts["retry_after_s"] == 10


def test_no_rate_is_no_limit() -> None:
    rate = RateLimit(0, Clock())
    for _ in range(1000):
        rate.take("a")
