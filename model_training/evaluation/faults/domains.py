"""Whose photos the faults are put on: throats, larynges, other mucosa, natural photos, phantoms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model_training.data.phantom import phantom
from model_training.data.photos import Skip, find_photos, require_any
from model_training.evaluation.faults.kinds import Fault
from model_training.evaluation.images import LEAST_SIDE_PX, evenly_spread, read_each, resized, working_size
from service.errors import DataError, InvalidParameter
from service.quality.lassim import LEVEL, canonical_size
from service.quality.pyramid import Image, check_level

PHANTOMS = "phantoms"
DOMAINS = ("throat", "larynx", "mucosa", "natural", PHANTOMS)
"""The domains, in the order of the tables."""

SCENE_DOMAINS = ("throat", "larynx", "mucosa")
"""Where light and haze shall be mended: a model cannot know what else a wall or a meadow should look like."""

HELD_OUT = Path(__file__).parent.parent / "held_out"
"""For each domain with photos a list of those that no network here is trained on, relative to the domain's folder."""

PHANTOM_SIZE, PHANTOM_SEED, PHANTOM_COUNT = (480, 272), 7_700_000, 8
"""Phantoms of seeds that training, which counts from 0, never draws."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A clean photo, (H, W, 3) uint8 RGB at its own size, and what it is called in tables."""

    name: str
    pixels: Image

    def at_working_size(self) -> Image:
        """The photo at the generator's working area, proportions kept, never enlarged."""
        height, width = self.pixels.shape[:2]
        return resized(self.pixels, working_size(width, height))


@dataclass(frozen=True, slots=True)
class Domain:
    """Photos of one kind."""

    name: str
    photos: tuple[Photo, ...]

    def asks(self, fault: Fault) -> bool:
        """Whether this fault shall be mended in these photos."""
        return fault.kind != "scene" or self.name in SCENE_DOMAINS


@dataclass(frozen=True, slots=True)
class DomainSource:
    """A domain's name and where its photos are; None: they are drawn."""

    name: str
    path: Path | None


def parse_source(text: str) -> DomainSource:
    """The source that `NAME=PATH` means, or `phantoms` alone.

    Raises:
        InvalidParameter: no such domain, or no path where one is needed.
    """
    name, _, path = text.partition("=")
    if name not in DOMAINS:
        raise InvalidParameter(f"A domain is written NAME=PATH with a name of {', '.join(DOMAINS)}; {text!r} is not.")
    if not path and name != PHANTOMS:
        raise InvalidParameter(f"The domain {name} needs the path of its photos: --domain {name}=PATH.")
    return DomainSource(name, Path(path) if path else None)


def require_once(sources: Sequence[DomainSource]) -> None:
    """Refuses a domain given twice, and none at all.

    Raises:
        InvalidParameter: it is.
    """
    names = [source.name for source in sources]
    if not names:
        raise InvalidParameter(f"No domain is given: --domain NAME=PATH, with a name of {', '.join(DOMAINS)}.")
    if twice := {name for name in names if names.count(name) > 1}:
        raise InvalidParameter(f"The domain {min(twice)} is given twice; a text list can name the photos of both.")


def load_domain(source: DomainSource, limit: int | None, *, held_out: bool, skip: Skip) -> Domain:
    """The photos of `source`, at most `limit` of them, evenly spread; with `held_out` those of the list alone.

    A photo that cannot be used is left out, and `skip` is told why.

    Raises:
        DataError: no photo is left.
    """
    if source.path is None:
        count = min(limit or PHANTOM_COUNT, PHANTOM_COUNT)
        drawn = (Photo(f"phantom {seed}", phantom(*PHANTOM_SIZE, PHANTOM_SEED + seed)) for seed in range(count))
        return Domain(source.name, tuple(drawn))
    found = held_out_photos(source.name, source.path) if held_out else find_photos(source.path)
    paths, skipped = evenly_spread(found, limit), list[str]()
    read = read_each(paths, skipped.append, least=LEAST_SIDE_PX, prepare=_measurable)
    photos = tuple(Photo(paths[index].name, pixels) for index, pixels in read if pixels is not None)
    require_any(len(photos), source.path, skipped)
    for sentence in skipped:
        skip(sentence)
    return Domain(source.name, photos)


def held_out_photos(name: str, folder: Path) -> list[Path]:
    """The photos of `folder` that the repository's list of domain `name` keeps out of training; all without a list.

    Raises:
        DataError: the folder has none of the photos listed.
    """
    source = HELD_OUT / f"{name}.txt"
    if not source.is_file():
        return find_photos(folder)
    lines = source.read_text(encoding="utf-8").splitlines()
    listed = [folder / line for line in lines if line and not line.startswith("#")]
    present = [path for path in listed if path.is_file()]
    if not present:
        raise DataError(f"{folder} has none of the photos that are kept out of training ({source.name}).")
    return present


def _measurable(photo: Image) -> Image:
    """`photo` itself.

    Raises:
        ImageDimensions: LaSSIM cannot be taken of it at the working size.
    """
    height, width = photo.shape[:2]
    small = canonical_size(*working_size(width, height))
    check_level(small[1], small[0], LEVEL)
    return photo
