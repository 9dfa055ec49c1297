"""The restorer: what its two stages can and cannot do, whatever their weights."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

from model_training.config.load import load_config
from model_training.config.pretrain import WarmStart
from model_training.data.phantom import phantom
from model_training.data.stage_pairs import ColourPairs, DetailPairs, Sources, from_linear, to_linear
from model_training.data.throat_colours import with_throat_palette
from model_training.export.onnx import require_parity, to_onnx
from model_training.export.wrapper import pixel_contract
from model_training.networks import build_generator
from model_training.networks.colour import QUANTILES, PhotoStatistics, by_selection, by_sorting
from model_training.networks.detail import FOLLOWING, LEAST_DETAIL, YCC, Block, DetailNetwork
from model_training.networks.filters import FilterBank, doubled
from model_training.networks.guided import colour_lines
from model_training.networks.restorer import Restorer
from model_training.runs.exported import fast_generator_weights
from model_training.runs.generator import find_checkpoint, load_generator
from model_training.training.pretrain import WarmStarting
from model_training.training.stages import Stage
from service.errors import CheckpointError, ConfigurationError, DataError
from service.registry.card import read_card
from tests.training_files import filtered

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "lamegan-fast"
FIRST_SHIPPED = SHIPPED / "1.0.0" / "model.onnx"
SMALL = {"detail_widths": (8, 8, 8), "detail_blocks": (1, 1, 2), "colour_widths": (8, 8, 8), "colour_blocks": (1, 1, 1)}


def shaken(network: nn.Module, seed: int = 0, strength: float = 0.3) -> nn.Module:
    """`network` with weights that do something: a fresh one hardly acts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(strength * torch.randn(parameter.shape, generator=generator) * parameter.abs().mean())
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def throat(height: int = 64, width: int = 96, seed: int = 3) -> torch.Tensor:
    return torch.from_numpy(phantom(width, height, seed)).permute(2, 0, 1)[None].float() / 127.5 - 1


def test_every_filter_is_even_and_sums_to_zero_whatever_it_has_learned() -> None:
    bank = FilterBank(4, (0.6, 1.6), (0.9,))
    shaken(bank)
    filters = bank.filters()
    assert torch.allclose(filters, filters.flip(1, 2))
    assert filters.sum((1, 2)).abs().max() < 1e-6


@pytest.mark.parametrize(("radius", "planes"), [(3, 1), (4, 1), (3, 2)])
def test_blocks_hold_what_the_filters_find(radius: int, planes: int) -> None:
    bank = FilterBank(radius, (0.7, 1.5), (1.2,), planes)
    given = torch.rand(2, planes, 24, 36)
    plain, blocks = bank(given), bank.on_blocks(given)
    assert torch.allclose(blocks, functional.pixel_unshuffle(plain, 2), atol=1e-6)
    assert torch.allclose(bank.strength(blocks), functional.avg_pool2d(plain.abs(), 4), atol=1e-6)
    assert torch.allclose(bank.strength(plain), functional.avg_pool2d(plain.abs(), 2), atol=1e-6)
    sums = sum(plain[:, planes * k : planes * (k + 1)] for k in range(len(bank)))
    assert torch.allclose(bank.over_filters(blocks), functional.pixel_unshuffle(sums, 2), atol=1e-5)


def spelled_out(network: DetailNetwork, x: torch.Tensor) -> torch.Tensor:
    """The detail stage as its words say: filter by filter and plane by plane, each weight where it stands."""
    planes = torch.einsum("pc,bchw->bphw", torch.tensor(YCC), x)
    at_half, at_quarter = (functional.avg_pool2d(planes, size) for size in (2, 4))

    def find(bank: FilterBank, plane: torch.Tensor) -> torch.Tensor:
        r = bank.radius
        return functional.conv2d(
            functional.pad(plane[:, None], (r, r, r, r), mode="replicate"), bank.filters()[:, None]
        )

    full = [find(bank, planes[:, p]) for p, bank in enumerate([network.luma_full, *2 * [network.colour_full]])]
    half = [find(bank, at_half[:, p]) for p, bank in enumerate([network.luma_half, *2 * [network.colour_half]])]
    quarter = [find(b, at_quarter[:, p]) for p, b in enumerate([network.luma_quarter, *2 * [network.colour_quarter]])]
    sizes = [functional.avg_pool2d(part.abs(), 4) for part in full] + [functional.avg_pool2d(half[0].abs(), 2)]
    strength = torch.log(torch.cat(sizes, 1) + LEAST_DETAIL) * 0.5 + 2
    features, coarse_features = network._features(x, strength)
    whole = network.mix_whole(strength)
    alike, following_alike, coarse_alike = torch.split(whole, [75, FOLLOWING, 6], 1)
    weights = network.mix_half(features) + alike
    coarse_weights = network.mix_quarter(coarse_features) + coarse_alike
    counts = [4 * part.shape[1] for part in full] + [part.shape[1] for part in half]
    of_full, of_half = (list(torch.split(weights, counts, 1)[where]) for where in (slice(3), slice(3, 6)))
    of_quarter = torch.split(coarse_weights, [part.shape[1] for part in quarter], 1)
    change = torch.cat(
        [(functional.pixel_shuffle(w, 2) * f).sum(1, True) for w, f in zip(of_full, full, strict=True)], 1
    )
    middle = torch.cat([(w * f).sum(1, True) for w, f in zip(of_half, half, strict=True)], 1)
    coarse = torch.cat([(w * f).sum(1, True) for w, f in zip(of_quarter, quarter, strict=True)], 1)
    at_half_size, finely = (network.mix_following(features) + following_alike).chunk(2, 1)
    gain, offset = colour_lines(at_half)
    middle[:, 1:] += at_half_size * (gain * at_half[:, :1] + offset - at_half[:, 1:])
    finest = (full[0] * network.finest[0][None, :, None, None]).sum(1, True)
    change[:, 1:] += functional.interpolate(finely * gain, scale_factor=2) * finest
    kernels = network.whole_filter.filters(planes[:, :1])
    sharper = [filtered(plane, kernel) for plane, kernel in zip(planes[:, 0], kernels, strict=True)]
    change[:, :1] += functional.interpolate(1 + network.whole_share(features), scale_factor=2) * torch.stack(sharper)
    change = change + doubled(middle + doubled(coarse))
    return x + torch.einsum("cp,bphw->bchw", torch.linalg.inv(torch.tensor(YCC)), change)


def test_the_detail_stage_is_what_its_words_say() -> None:
    network = shaken(DetailNetwork()).requires_grad_(False)
    assert isinstance(network, DetailNetwork)
    for given in (throat(), torch.cat([throat(64, 80, 1), throat(64, 80, 2)])):
        made = network(given)
        assert (made - given).abs().max() > 0.01
        assert torch.allclose(made, spelled_out(network, given), atol=1e-5)


def test_a_block_adds_its_convolution() -> None:
    block = shaken(Block(8))
    assert isinstance(block, Block)
    x = torch.rand(1, 8, 12, 10)
    assert torch.allclose(block(x), functional.relu(x + block.convolution(x)), atol=1e-6)


@pytest.mark.parametrize("checkpoint", sorted(SHIPPED.glob("training/*.pt")), ids=lambda path: path.stem)
def test_what_is_exported_now_gives_the_pixels_of_the_model_that_ships(checkpoint: Path) -> None:
    contract = pixel_contract(load_generator(find_checkpoint(checkpoint)))
    now = onnxruntime.InferenceSession(to_onnx(contract), providers=["CPUExecutionProvider"])
    shipped = onnxruntime.InferenceSession(SHIPPED / checkpoint.stem / "model.onnx", providers=["CPUExecutionProvider"])
    image = np.stack([phantom(250, 133, seed) for seed in (3, 4)])
    for one, other in zip(now.run(None, {"image": image}), shipped.run(None, {"image": image}), strict=True):
        difference = np.abs(one.astype(int) - other.astype(int))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-4


def test_doubling_as_blocks_is_bilinear_to_the_border() -> None:
    network, small = DetailNetwork(), torch.rand(1, 3, 5, 7)
    padded = functional.pad(small, (1, 1, 1, 1), mode="replicate")
    blocks = functional.conv2d(padded, network.to_double, groups=3)
    assert torch.allclose(functional.pixel_shuffle(blocks, 2), doubled(small), atol=1e-6)


def test_a_flat_picture_stays_flat_whatever_the_detail_stage_has_learned() -> None:
    network = shaken(DetailNetwork())
    flat = torch.full((1, 3, 48, 64), 0.3) * torch.tensor([1.0, -0.5, 0.2])[None, :, None, None]
    assert (network(flat) - flat).abs().max() < 1e-5


@pytest.mark.parametrize("fault", ["clean", "noisy", "blurred", "dark"])
def test_no_photo_is_beyond_the_gradient(fault: str) -> None:
    photo = throat()
    if fault == "noisy":
        photo = photo + 0.08 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(1))
    elif fault == "blurred":
        photo = functional.avg_pool2d(photo, 5, 1, 2, count_include_pad=False)
    elif fault == "dark":
        photo = (photo + 1) * 0.2 - 1
    generator = build_generator("restorer", **SMALL).train()
    (generator(photo) - throat()).abs().mean().backward()
    for name in ("detail.mix_half", "detail.mix_quarter", "colour.plain_head", "colour.of_all"):
        gradient = generator.get_parameter(f"{name}.weight").grad
        assert gradient is not None, name
        assert gradient.abs().max() > 0, name


def test_the_whole_is_its_two_stages_one_after_the_other() -> None:
    restorer = shaken(build_generator("restorer", **SMALL))
    assert isinstance(restorer, Restorer)
    with torch.no_grad():
        assert torch.equal(restorer(throat()), restorer.mend_colour(restorer.mend_detail(throat())))


def test_an_exported_restorer_gives_torchs_pixels_and_its_detail_apart() -> None:
    restorer = shaken(build_generator("restorer", **SMALL), strength=0.1)
    contract = pixel_contract(restorer.requires_grad_(False))
    model = to_onnx(contract)
    assert require_parity(contract, model).worst <= 1
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["enhanced", "detail"]
    image = phantom(96, 64, 5)[None]
    only_needed = onnxruntime.RunOptions()
    only_needed.only_execute_path_to_fetches = True
    (alone,) = session.run(["detail"], {"image": image}, only_needed)
    _enhanced, beside = session.run(None, {"image": image})
    assert np.array_equal(alone, beside)
    (coloured,) = session.run(["enhanced"], {"image": image, "colour_only": np.array(True)})
    expected = restorer.mend_colour(contract.given(torch.from_numpy(image))).permute(0, 2, 3, 1).numpy()
    assert np.abs(coloured - (expected + 1) * 127.5).max() < 1.1


def one_stage(stage: str, **settings: object) -> WarmStarting:
    config = load_config(f"restorer-{stage}")
    told = {**config.model_dump()["warmstart"], "steps": 4, "batch": 2, "warm_up": 0, **settings}
    generator = config.generator_config.model_copy(update={"options": SMALL})
    config = config.model_copy(update={"warmstart": told, "generator": generator})
    photos = [phantom(200, 176, seed) for seed in range(2)]
    sources = Sources(photos, photos)
    pairs = DetailPairs(sources, 0) if stage == "detail" else ColourPairs(sources, 0, 2, phantoms=1, drawn=1)
    return WarmStarting(config, pairs, torch.device("cpu"))


@pytest.mark.parametrize("stage", ["detail", "colour"])
def test_a_stage_learns_alone_and_resumes_bit_by_bit(stage: str) -> None:
    training = one_stage(stage)
    before = {name: value.clone() for name, value in training.learners["G"].network.state_dict().items()}
    training.advance()
    state = deepcopy(training.state_dict())
    training.advance()
    resumed = one_stage(stage)
    resumed.load_state_dict(state)
    resumed.advance()
    after = training.learners["G"].network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in resumed.learners["G"].network.state_dict().items())
    changed = {name.split(".")[0] for name, value in before.items() if not torch.equal(after[name], value)}
    assert changed == {stage}


def test_the_colour_stage_learns_mostly_from_what_the_detail_stage_leaves() -> None:
    restorer = shaken(build_generator("restorer", **SMALL))
    assert isinstance(restorer, Restorer)
    stage = Stage(WarmStart(stage="colour"), restorer)
    photos = torch.cat([throat(seed=seed) for seed in range(5)])
    with torch.no_grad():
        made = stage.made(restorer.train(), photos)
        mended, given = (restorer.mend_colour(image) for image in (restorer.mend_detail(photos), photos))
        validated = stage.made(restorer.eval(), photos)
        as_it_is = restorer.mend_colour(photos)
    assert torch.allclose(made, torch.cat([mended[:3], given[3:]]), atol=1e-5)
    assert not torch.allclose(mended, given, atol=1e-3)
    assert torch.equal(validated, as_it_is)


def test_only_a_restorer_has_stages() -> None:
    with pytest.raises(ConfigurationError, match="restorer"):
        Stage(WarmStart(stage="detail"), build_generator("fast", widths=(8, 8, 8), blocks=(1, 1, 1)))


def test_batches_are_functions_of_seed_and_step() -> None:
    photos = [phantom(200, 176, 1)]
    for make in (lambda: DetailPairs(Sources(photos, photos), 3), lambda: ColourPairs(Sources(photos, []), 3, 2, 1, 1)):
        first, second = make().batch(5, 2), make().batch(5, 2)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        assert not torch.equal(first[0], make().batch(6, 2)[0][: len(first[0])]) or first[0].shape[0] == 0


def test_training_on_nothing_is_refused() -> None:
    with pytest.raises(DataError):
        Sources([], [])


def test_the_colour_stage_can_begin_from_the_first_shipped_model() -> None:
    model = FIRST_SHIPPED
    weights = fast_generator_weights(model)
    assert weights["head.weight"].shape[0] == 15
    training = WarmStarting(load_config("restorer-colour"), _pairs(), torch.device("cpu"))
    said = training.begin_with_colours_of(model)
    assert read_card(model.with_name("card.json")).file.sha256 in said
    stem = training.learners["G"].network.get_parameter("colour.trunk.stem.weight")
    assert torch.equal(stem.detach(), weights["trunk.stem.weight"])


def _pairs() -> ColourPairs:
    return ColourPairs(Sources([phantom(200, 176, 1)], []), 0, 2, phantoms=1, drawn=1)


def test_a_file_that_holds_no_fast_generator_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(CheckpointError):
        fast_generator_weights(tmp_path / "model.onnx")


def test_the_statistics_tell_photos_apart_and_pass_gradients_whatever_their_weights() -> None:
    """Rectified layers over quantiles, which rise and fall together, fell silent for good."""
    statistics = PhotoStatistics()
    for layer in (statistics.hidden, statistics.out):
        nn.init.constant_(layer.bias, -5.0)
    one, other = (statistics(statistics.seen(x)) for x in (throat(seed=3), throat(seed=4) * 0.5))
    assert not torch.equal(one, other)
    other.sum().backward()
    assert statistics.hidden.weight.grad is not None
    assert statistics.hidden.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("rows", "levels"), [(256, 1000), (8160, 40), (8160, 100_000), (300, 1)])
def test_quantiles_selected_are_those_of_a_sort(rows: int, levels: int) -> None:
    values = torch.randint(levels, (2, 10, rows), generator=torch.Generator().manual_seed(rows)).float()
    ranks = torch.round(torch.tensor(QUANTILES) * (rows - 1)).long()
    assert torch.equal(by_selection(values, ranks), by_sorting(values, ranks))


def test_light_and_stored_values_are_each_others_inverse() -> None:
    values = np.linspace(0, 1, 1001, dtype=np.float32)
    assert np.abs(from_linear(to_linear(values)) - values).max() < 1e-5
    assert to_linear(np.float32([0.5])) == pytest.approx(0.21404, abs=1e-4)


def test_a_throat_palette_keeps_what_is_white() -> None:
    rng = np.random.default_rng(5)
    image = np.full((64, 96, 3), (0.7, 0.4, 0.35), np.float32) + rng.normal(0, 0.05, (64, 96, 3)).astype(np.float32)
    image[20:30, 20:40] = 1.0
    white = [float(with_throat_palette(np.clip(image, 0, 1), rng)[25, 30].min()) for _ in range(40)]
    assert sum(value > 0.99 for value in white) >= 25  # of a seed: 34 expected
