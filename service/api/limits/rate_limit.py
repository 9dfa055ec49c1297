"""How often each key may call: one token bucket a key."""

from __future__ import annotations

import time
from collections.abc import Callable

from service.errors import RateLimited


class RateLimit:
    """Lets each key make `per_s` requests a second on average, and a second's worth at once."""

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`per_s` 0: no limit."""
        self._per_s = per_s
        self._burst = max(1.0, per_s)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: str) -> None:
        """Use one request of `key`.

        Raises:
            RateLimited: none is left; `retry_after_s` says when one will be.
        """
        if self._per_s == 0:
            return
        now = self._clock()
        tokens, since = self._buckets.get(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._per_s)
        if tokens < 1:
            self._buckets[key] = tokens, now
            raise RateLimited(
                "This key has used its rate.", limit=self._per_s, retry_after_s=round((1 - tokens) / self._per_s, 3)
            )
        self._buckets[key] = tokens - 1, now
