"""The model card that an export writes: everything a checkpoint knows, in the card's own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from model_training.config import TrainingConfig, load_config
from model_training.fit import SourceNote
from service.registry.card import (
    Contract,
    DataSource,
    Golden,
    ModelCard,
    ModelFile,
    Network,
    Objective,
    Training,
)

Scalar = str | int | float | bool | None

_SEEN = "seen "

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
    """The card; evaluation, reference histogram and guardrail floors stay open until ``evaluate`` measures them."""
    config, state = facts.config, facts.state
    data = data_sources(state.get("data", {}) | _before(state), facts.notes)
    return ModelCard(
        name=facts.name,
        version=facts.version,
        file=ModelFile(sha256=facts.model_sha256, size_bytes=facts.model_bytes),
        contract=Contract(),
        working_pixels=480 * 272,
        network=Network(
            name=config.generator_config.name,
            parameters=facts.parameters,
            options={key: _written(value) for key, value in config.generator_config.options.items()},
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
        golden=facts.golden,
        intended_use=_INTENDED_USE,
        limits=_limits(data),
    )


def _before(state: Mapping[str, Any]) -> dict[str, Any]:
    """What the weights had seen before this run, unless this run names the same."""
    named = {known.get("digest") for known in state.get("data", {}).values()}
    return {f"{_SEEN}{digest}": known for digest, known in state.get("seen", {}).items() if digest not in named}


def data_sources(data: Mapping[str, Mapping[str, Any]], notes: Mapping[str, SourceNote]) -> list[DataSource]:
    """The card's data entries from a checkpoint's, with ``notes`` overriding what they say of name and licence."""
    roles: dict[str, tuple[Literal["lq", "hq", "both"], str]] = {
        "x": ("lq", "lq"),
        "y": ("hq", "hq"),
        "photos": ("both", "lq"),
    }
    sources: list[DataSource] = []
    for side, known in data.items():
        role, key = roles.get(side, ("both", "everyday" if side.startswith(_SEEN) else side))
        said = notes[key].model_dump() if key in notes else {}
        told = {**known, **said}
        told.pop("skipped", None)
        sources.append(DataSource(role=told.pop("role", role), **told))
    return sources


def _objective(config: TrainingConfig, state: Mapping[str, Any]) -> Objective:
    kind = state["kind"]
    name = config.objective if kind in ("adversarial", "best") else kind
    departures = _departures(config)
    note = f"Departs from the paper's preset in: {'; '.join(departures)}." if departures else "As in the paper."
    section = "distillation" if name == "distillation" else name
    settings = config.model_dump(mode="json").get(section, {})
    return Objective(name=name, settings=_flat(settings if isinstance(settings, Mapping) else {}), note=note)


def _departures(config: TrainingConfig) -> list[str]:
    ours, papers = (_flat(side.model_dump(mode="json", exclude={"features", "journal"})) for side in (
        config, load_config("paper", [f"objective={config.objective}"])
    ))  # fmt: skip
    other_objectives = {"cyclegan", "lamegan", "miinet", "stillgan", "warmstart", "distillation"} - {config.objective}
    return [
        f"{key} {papers.get(key)} -> {ours.get(key)}"
        for key in sorted(ours.keys() | papers.keys())
        if ours.get(key) != papers.get(key) and key.split(".")[0] not in other_objectives
    ]


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


def _limits(data: list[DataSource]) -> str:
    images = sum(source.images for source in data)
    people = {source.name: source.patients for source in data}
    known = [patients for patients in people.values() if patients is not None]
    shown = f"{sum(known)} patients" if len(known) == len(people) and known else "an unstated number of patients"
    return (
        f"Research; not a medical device; trained on {images} images of {shown}. A photo of another kind (another "
        "camera, light, part of the body or age) may be enhanced badly. LaSSIM and the guardrail report change of "
        "structure; they cannot tell whether what is shown was there. Always look at the original."
    )
