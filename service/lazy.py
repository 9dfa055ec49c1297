"""A property that is computed when it is first asked for, without the lock of `functools.cached_property`.

Before Python 3.12 that lock is one for all instances of a class, held while the value is computed: photos that are
measured on several threads would wait for one another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar, overload

Owner = TypeVar("Owner")
Value = TypeVar("Value")


class lazy(Generic[Owner, Value]):  # noqa: N801  # used like `property`
    """The decorator; threads that ask one instance at the same time may each compute the value."""

    def __init__(self, compute: Callable[[Owner], Value]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> lazy[Owner, Value]: ...

    @overload
    def __get__(self, instance: Owner, owner: type) -> Value: ...

    def __get__(self, instance: Owner | None, owner: type) -> lazy[Owner, Value] | Value:
        """The value, kept among the instance's attributes, where it is found first from then on."""
        if instance is None:
            return self
        value = vars(instance)[self._name] = self._compute(instance)
        return value
