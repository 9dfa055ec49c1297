"""The hostile corpus through the whole way of a request."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.engine.engine import EngineOptions
from service.errors import LameganError, LevelUnavailable
from service.pipeline import EnhanceOptions, Enhancer
from service.registry.store import ModelStore
from service.serving.single_model import SingleModel
from tests import models
from tests.hostile import HostileFile, hostile_files

CORPUS = list(hostile_files())
PEAK_LIMIT_MB = 1000


@pytest.fixture(scope="module")
def enhancer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Enhancer]:
    root = tmp_path_factory.mktemp("models")
    models.install(root, models.identity())
    with SingleModel(ModelStore(root), "tiny", EngineOptions(threads=1, streams=1)) as generators:
        yield Enhancer(generators)


def test_the_corpus_is_large_and_every_name_is_told_once() -> None:
    assert sum(file.code is not None for file in CORPUS) >= 60
    assert len({file.name for file in CORPUS}) == len(CORPUS)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.name.replace(" ", "-"))
def test_a_hostile_file_ends_in_its_error_and_a_harmless_one_is_served(file: HostileFile, enhancer: Enhancer) -> None:
    options = EnhanceOptions(declared_type=file.declared_type)
    if file.code is None:
        assert enhancer.enhance(file.body, options).judgement.lassim == pytest.approx(1)
        return
    with pytest.raises(LameganError) as refused:
        enhancer.enhance(file.body, options)
    assert refused.value.code == file.code
    assert not isinstance(refused.value, LevelUnavailable)


PROBE = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from service.engine.engine import EngineOptions
from service.pipeline import Enhancer, EnhanceOptions
from service.serving.single_model import SingleModel
from service.errors import LameganError
from service.registry.store import ModelStore
from tests.hostile import heavy_files, hostile_files

with SingleModel(ModelStore(Path({models!r})), "tiny", EngineOptions(threads=1, streams=1)) as generators:
    enhancer = Enhancer(generators)
    {work}
# Not getrusage: its maximum is inherited from the process that started this one.
status = Path("/proc/self/status").read_text()
print(next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM")))
"""

WHOLE_CORPUS = """
    for file in hostile_files():
        try:
            enhancer.enhance(file.body, EnhanceOptions(declared_type=file.declared_type))
        except LameganError:
            pass
"""
ONE_HEAVY = """
    assert enhancer.enhance(open({body!r}, "rb").read()).width == 8000
"""


def peak_mb(work: str, model_root: Path) -> int:
    root = Path(__file__).resolve().parents[2]
    probe = PROBE.format(root=str(root), models=str(model_root), work=work.strip())
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return int(ran.stdout)


def test_the_whole_corpus_passes_in_little_memory(tmp_path: Path) -> None:
    models.install(tmp_path, models.identity())
    assert peak_mb(WHOLE_CORPUS, tmp_path) < PEAK_LIMIT_MB / 2


@pytest.mark.parametrize("kind", ["png RGBA of 16 bits", "png grey and alpha of 16 bits", "webp", "jpeg CMYK"])
@pytest.mark.slow
def test_the_largest_images_allowed_stay_in_bounded_memory(kind: str, tmp_path: Path) -> None:
    from tests.hostile import heavy_files

    models.install(tmp_path, models.brighten())
    body = tmp_path / "heavy"
    body.write_bytes(dict(heavy_files())[kind]())
    assert peak_mb(ONE_HEAVY.format(body=str(body)), tmp_path) < PEAK_LIMIT_MB
