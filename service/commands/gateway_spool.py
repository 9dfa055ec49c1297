"""The gateway's spool, for the commands beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from service.dicom.gateway.config import read_config
from service.dicom.gateway.spool import Spool
from service.errors import ConfigurationError

Told = TypeVar("Told")


def with_spool(file: Path, act: Callable[[Spool], Told]) -> Told:
    """What `act` returns about the spool of the gateway that `file` configures, running or not.

    Raises:
        ConfigurationError: the file makes no sense, or there is no spool yet.
    """
    folder = read_config(file).spool.folder
    if not (folder / "index.sqlite").exists():
        raise ConfigurationError(f"There is no spool in {folder} yet.")
    spool = Spool(folder)
    try:
        return act(spool)
    finally:
        spool.close()
