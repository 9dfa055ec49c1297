"""The model card that an export writes: everything a checkpoint knows, in the card's own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch

from model_training.config.load import load_config
from model_training.config.schema import ADVERSARIAL, DISTILLATION, WARM_START, ObjectiveName, TrainingConfig
from model_training.runs.provenance import SIDES, SourceNote, photos_seen
from service.errors import DataError
from service.registry.card import (
    BUILT_IN_GUARD,
    Contract,
    DataSource,
    Golden,
    ModelCard,
    Network,
    Objective,
    Training,
)
from service.registry.model_file import ModelFile

Scalar = str | int | float | bool | None

DETAIL_PIXELS = 1920 * 1080
"""Most pixels at which a restorer's detail stage runs in service: what it costs grows with them."""

_UNNAMED = SourceNote().name
_SECTIONS = {WARM_START: "warmstart", DISTILLATION: "distillation"}
"""Where the settings of a kind of run without an adversary stand in the configuration."""
_READ_BY = {
    WARM_START: {"data", "degrader", "generator", "precision", "seed", "warmstart"},
    DISTILLATION: {"data", "distillation", "ema", "generator", "optimiser", "precision", "seed"},
}
"""The sections that such a run reads; what the others say is nothing to it."""

_INTENDED_USE = (
    "Research on the enhancement of throat photos: showing a person a clearer picture beside the original, with the "
    "LaSSIM of the two. Not a medical device; not for diagnosis."
)


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What is known at export."""

    name: str
    version: str
    model_sha256: str
    model_bytes: int
    parameters: int
    config: TrainingConfig
    state: Mapping[str, Any]
    checkpoint_digest: str
    notes: Mapping[str, SourceNote]
    golden: Golden


def compose_card(facts: CardFacts) -> ModelCard:
    """The card; until `evaluate` measures the model, figures stay open and built-in thresholds hold."""
    config, state = facts.config, facts.state
    data = data_sources(state, facts.notes)
    return ModelCard(
        name=facts.name,
        version=facts.version,
        file=ModelFile(sha256=facts.model_sha256, size_bytes=facts.model_bytes),
        contract=Contract(),
        working_pixels=480 * 272,
        detail_pixels=DETAIL_PIXELS if config.generator_config.name == "restorer" else None,
        network=Network(
            name=config.generator_config.name,
            parameters=facts.parameters,
            options={key: _option(value) for key, value in config.generator_config.options.items()},
        ),
        objective=_objective(config, state),
        training=Training(
            data=data,
            steps=state["step"],
            seed=config.seed,
            warm_start=state.get("warm_start", ""),
            config_sha256=config.digest(),
            checkpoint_sha256=facts.checkpoint_digest,
            software=f"torch {torch.__version__}",
        ),
        guard=BUILT_IN_GUARD,
        golden=facts.golden,
        intended_use=_INTENDED_USE,
        limits=_limits(data),
    )


def data_sources(state: Mapping[str, Any], notes: Mapping[str, SourceNote]) -> list[DataSource]:
    """The card's data entries: every set of photos that a checkpoint's state tells of, once, as ``notes`` mend it.

    A side's note is of this run's photos; photos of an earlier run have theirs under their digest.

    Raises:
        DataError: a note names a digest that is not among these photos'.
    """
    data = state.get("data", {})
    noted = {side: {**told, **_said(notes, _note_key(side, data))} for side, told in data.items()}
    seen = photos_seen({**state, "data": noted})
    if strange := notes.keys() - {*SIDES, *seen}:
        raise DataError(f"The checkpoint knows no photos of digest {min(strange)}; its card lists those it knows.")
    told = ({**known, **_said(notes, digest)} for digest, known in seen.items())
    return [DataSource(**{key: value for key, value in known.items() if key != "skipped"}) for known in told]


def _said(notes: Mapping[str, SourceNote], key: str) -> dict[str, Any]:
    return notes[key].model_dump(exclude_unset=True) if key in notes else {}


def _note_key(side: str, data: Mapping[str, Mapping[str, Any]]) -> str:
    """What a user's file calls the photos of a checkpoint's side."""
    if side == "x" and data["x"]["digest"] == data.get("y", {}).get("digest"):
        return "hq"  # a warm start makes its degraded photos of the clean ones
    return {"x": "lq", "y": "hq", "photos": "lq"}.get(side, side)


def _objective(config: TrainingConfig, state: Mapping[str, Any]) -> Objective:
    kind = _kind(state)
    name = config.objective if kind == ADVERSARIAL else kind
    departures = _departures(config, kind)
    if kind != ADVERSARIAL:
        note = f"Not a step of the paper's. Departs from the defaults in: {'; '.join(departures) or 'nothing'}."
    elif departures:
        note = f"Departs from the paper's preset in: {'; '.join(departures)}."
    else:
        note = "As in the paper."
    settings = _settings(config, kind)[_SECTIONS.get(kind, config.objective)]
    return Objective(name=name, settings=_flat(settings), note=note)


def _kind(state: Mapping[str, Any]) -> str:
    """What kind of run a checkpoint is of."""
    kind: str = state["kind"]
    return kind


def _departures(config: TrainingConfig, kind: str) -> list[str]:
    paper = load_config("paper", [f"objective={config.objective}"])
    ours, papers = (_flat(_settings(side, kind)) for side in (config, paper))
    return [
        f"{key} {papers.get(key)} -> {ours.get(key)}"
        for key in sorted(ours.keys() | papers.keys())
        if ours.get(key) != papers.get(key)
    ]


def _settings(config: TrainingConfig, kind: str) -> dict[str, Any]:
    """By section, what has a say in a run of this kind."""
    settings = config.model_dump(mode="json", exclude={"features", "journal"})
    if kind == WARM_START:
        settings["warmstart"] = config.warm_start().model_dump(mode="json")
    if kind in _READ_BY:
        return {section: settings[section] for section in _READ_BY[kind]}
    others = {*get_args(ObjectiveName), *_SECTIONS.values()} - {config.objective}
    return {section: said for section, said in settings.items() if section not in others}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    flat: dict[str, Scalar] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = None if value is None else _written(value)
    return flat


def _written(value: Any) -> str | int | float | bool:
    return value if isinstance(value, str | int | float | bool) else str(value)


def _option(value: Any) -> str | int | float | bool | list[int]:
    """A network's option as the card keeps it: lists of whole numbers stay lists."""
    if isinstance(value, list | tuple) and all(isinstance(item, int) for item in value):
        return list(value)
    return _written(value)


def _limits(data: list[DataSource]) -> str:
    images = sum(source.images for source in data)
    people = {source.name if source.name != _UNNAMED else source.digest: source.patients for source in data}
    known = [patients for patients in people.values() if patients is not None]
    shown = f"{sum(known)} patients" if len(known) == len(people) and known else "an unstated number of patients"
    return (
        f"Research; not a medical device; trained on {images} images of {shown}. A photo of another kind (another "
        "camera, light, part of the body or age) may be enhanced badly. LaSSIM and the guardrail report change of "
        "structure; they cannot tell whether what is shown was there. Always look at the original."
    )
