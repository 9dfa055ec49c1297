"""What every test may use: the shared data where it is, and nothing that reaches out."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XDG_CACHE_HOME", str(Path(tempfile.gettempdir()) / "lamegan-tests-cache"))

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of images and weights that may not be shipped: LAMEGAN_SHARED_DATA, or `shared` beside the clone."""
    folder = Path(os.environ.get("LAMEGAN_SHARED_DATA", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("the shared data is not beside this clone (set LAMEGAN_SHARED_DATA)")
    return folder


@pytest.fixture(scope="session")
def throat() -> Path:
    """Three 480x272 pictures of one throat: image_original, image_blur and image_elastic_blur (.png).

    By Aillis Inc, under the MIT licence beside them, from the repository of the LaSSIM paper (arXiv 2304.01864).
    """
    return ROOT / "tests" / "data" / "throat"
