"""Services that several tests of a module may share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import models
from tests.live import LiveService


@pytest.fixture(scope="module")
def brightening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A service whose default model adds 12 grey levels; `other` gives back its input."""
    root: Path = tmp_path_factory.mktemp("models")
    models.install(root, models.brighten(12), "tiny", "1.2.0")
    models.install(root, models.identity(), "other", "1.0.0", floors=models.STRICT)
    with LiveService(root) as service:
        yield service
