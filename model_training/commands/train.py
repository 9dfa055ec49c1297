"""`lamegan-train` fit, distil, warm-start, mean and export: from photos to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from model_training.commands.options import (
    Config,
    DeviceOption,
    Everyday,
    Minutes,
    Resume,
    Set,
    Sources,
    Validate,
    Vgg,
    configured,
    end_run,
    name_skipped,
    terminal,
    warn,
)

commands = typer.Typer()


@commands.command()
def fit(
    lq: Annotated[Path, typer.Option(help="Photos of low quality: a folder, or a text file that lists them.")],
    hq: Annotated[Path, typer.Option(help="Photos of high quality, of other scenes.")],
    out: Annotated[Path, typer.Option(help="The run's folder: checkpoints, losses, pictures.")],
    config: Config = "paper",
    objective: Annotated[str | None, typer.Option(help="lamegan, cyclegan, miinet or stillgan.")] = None,
    settings: Set = None,
    vgg: Vgg = None,
    resume: Resume = False,
    warm_start: Annotated[Path | None, typer.Option(help="A checkpoint whose G and F to start from.")] = None,
    everyday: Everyday = None,
    validate: Validate = None,
    sources: Sources = None,
    device: DeviceOption = "auto",
    minutes: Minutes = None,
) -> None:
    """Train a generator from two folders of unpaired photos."""
    from model_training.training.fit import FitRequest
    from model_training.training.fit import fit as run

    request = FitRequest(
        config=configured(config, settings, objective, vgg),
        lq=lq,
        hq=hq,
        out=out,
        resume=resume,
        warm_start=warm_start,
        everyday=everyday,
        validate=validate,
        sources=sources,
        device=device,
        minutes=minutes,
    )
    end_run(run(request, terminal()), out)


@commands.command()
def distil(
    teacher: Annotated[Path, typer.Argument(help="The bigger generator: a checkpoint, or a run's folder.")],
    photos: Annotated[Path, typer.Option(help="Unpaired photos: a folder, or a text file that lists them.")],
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    config: Config = "smoke",
    settings: Set = None,
    vgg: Vgg = None,
    resume: Resume = False,
    sources: Sources = None,
    device: DeviceOption = "auto",
    minutes: Minutes = None,
) -> None:
    """Teach a small generator (the configuration's) from a bigger one."""
    from model_training.training.distil import DistilRequest
    from model_training.training.distil import distil as run

    request = DistilRequest(
        config=configured(config, settings, None, vgg),
        teacher=teacher,
        photos=photos,
        out=out,
        resume=resume,
        sources=sources,
        device=device,
        minutes=minutes,
    )
    end_run(run(request, terminal()), out)


@commands.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint, or a run's folder (its best, else its newest).")],
    name: Annotated[str, typer.Option(help="The model's name.")],
    version: Annotated[str, typer.Option(help="The model's version, as 1.0.0.")],
    out: Annotated[Path, typer.Option(help="The models' folder.")] = Path("models"),
    sources: Sources = None,
) -> None:
    """Write model.onnx and card.json, after checking that ONNX Runtime returns torch's pixels."""
    from model_training.export.onnx import ExportRequest, export_model

    exported = export_model(ExportRequest(checkpoint, name, version, out, sources=sources))
    Console().print(
        f"{exported.folder}: {exported.parameters:,} parameters, {exported.size_bytes / 1e6:.2f} MB; against torch at "
        f"most {exported.parity.worst} grey level(s), {exported.parity.share:.4%} of the values.",
        markup=False,
    )
    warn(
        "The guardrail is not calibrated and nothing is measured yet: the service would hold this model to strict "
        "built-in thresholds, and lamegan models activate refuses it. Next, with held-out clean photos: "
        f"lamegan-train evaluate PHOTOS --out REPORT --calibrate {exported.folder}"
    )


@commands.command()
def quantise(
    model: Annotated[Path, typer.Argument(help="The model's folder; its version may not have been published yet.")],
    photos: Annotated[list[Path], typer.Argument(help="Clean photos of every kind it is for: folders, lists, files.")],
    seed: Annotated[int, typer.Option(help="Seed of the damage to the photos.", min=0)] = 0,
    limit: Annotated[int, typer.Option(help="Photos at most, evenly spread over all that is given.", min=8)] = 96,
    precision: Annotated[
        Literal["int8", "float16"], typer.Option(help="int8 for processors with VNNI, float16 for GPUs.")
    ] = "int8",
) -> None:
    """Write model.int8.onnx or model.half.onnx beside a model and its figures into the card."""
    from model_training.export.quantise import QuantiseRequest
    from model_training.export.quantise import quantise as run
    from model_training.runs.progress import bar

    skipped: list[str] = []
    with bar("Measuring") as start:
        facts = run(QuantiseRequest(model, photos, seed, limit, precision), skip=skipped.append, start=start)
    name_skipped(skipped)
    worst = max(facts.lost_db, key=lambda fault: facts.lost_db[fault])
    Console().print(
        f"{model}: {facts.size_bytes / 1e6:.2f} MB in {precision}. "
        f"On {facts.measured_photos} photos it loses at most {facts.lost_db[worst]:.3f} dB ({worst}); its results are "
        f"within {min(facts.alike_db.values()):.1f} dB of the model's. If the model was signed, sign it again.",
        markup=False,
        highlight=False,
    )


@commands.command("warm-start")
def warm_start(
    hq: Annotated[Path, typer.Option(help="Clean photos; the degraded ones are made from them.")],
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    config: Config = "fast",
    settings: Set = None,
    resume: Resume = False,
    begin: Annotated[Path | None, typer.Option(help="A checkpoint whose weights to start from.")] = None,
    everyday: Everyday = None,
    validate: Validate = None,
    sources: Sources = None,
    device: DeviceOption = "auto",
    minutes: Minutes = None,
) -> None:
    """Teach G to restore and F to degrade on generated pairs; `fit --warm-start` continues from there."""
    from model_training.training.pretrain import WarmStartRequest
    from model_training.training.pretrain import warm_start as run

    request = WarmStartRequest(
        config=configured(config, settings, None, None),
        hq=hq,
        out=out,
        everyday=everyday,
        resume=resume,
        device=device,
        minutes=minutes,
        validate=validate,
        sources=sources,
        begin=begin,
    )
    end_run(run(request, terminal()), out)


@commands.command()
def mean(
    begun: Annotated[Path, typer.Argument(help="The checkpoint that fine-tuning began with.")],
    tuned: Annotated[Path, typer.Argument(help="The checkpoint that it ended with.")],
    out: Annotated[Path, typer.Option(help="The checkpoint to write.")],
    share: Annotated[float, typer.Option(help="Weight of the tuned checkpoint in the average.", min=0, max=1)] = 0.5,
) -> None:
    """Average the weights of two generators: most of what fine-tuning gained, less of what it forgot."""
    from model_training.runs.average import write_mean

    Console().print(f"{out}: {write_mean(begun, tuned, out, share=share)}", markup=False, highlight=False)
