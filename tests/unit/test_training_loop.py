"""The loop's own judgement: rates, averages, and when to stop."""

import math
from types import SimpleNamespace

import pytest
import torch

from benchmarks.training import with_tf32
from model_training.config.load import load_config
from model_training.config.schema import OptimiserConfig, WatchConfig
from model_training.export.wrapper import PixelContract
from model_training.networks import build_generator
from model_training.runs.checkpoint import Vault
from model_training.training.distributed import Ranks, choose_device
from model_training.training.loop import (
    Outcome,
    Progress,
    Run,
    rate_setting,
    require_finite,
    require_sound,
    run_loop,
    watch,
)
from model_training.training.optimiser import Optimisation, blend, learning_rate, total_steps
from service.errors import ConfigurationError, Diverged


def test_the_rate_is_constant_and_then_falls_linearly_by_epochs():
    config = OptimiserConfig(rate=1.0, constant=2, decay=3, unit="epochs")
    rates = [learning_rate(config, step, steps_per_epoch=2) for step in range(total_steps(config, 2))]
    assert rates == pytest.approx([1, 1, 1, 1, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25])


def test_the_rate_can_fall_by_steps():
    config = OptimiserConfig(rate=2.0, constant=1, decay=1, unit="steps")
    assert total_steps(config, 99) == 2
    assert [learning_rate(config, step, 99) for step in range(2)] == pytest.approx([2, 1])


def test_a_moving_average_moves_by_its_share_faster_at_first():
    average, network = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    torch.nn.init.constant_(average.weight, 0.0)
    torch.nn.init.constant_(network.weight, 1.0)
    blend(average, network, decay=0.5, step=0)
    assert average.weight.item() == pytest.approx(0.9)
    blend(average, network, decay=0.5, step=1000)
    assert average.weight.item() == pytest.approx(0.95)
    blend(average, network, decay=0.0, step=1000)
    assert average.weight.item() == 1


def test_one_step_descends_the_sum_of_its_terms_by_adam_s_rule():
    parameter = torch.nn.Parameter(torch.tensor([1.0]))
    optimisation = Optimisation([parameter], OptimiserConfig(), Ranks())
    optimisation.descend({"a": parameter.sum(), "b": 2 * parameter.sum()}, rate=0.1)
    assert parameter.grad.item() == 3
    assert parameter.item() == pytest.approx(0.9)  # Adam's first step is the rate, whatever the gradient's size


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_itself(value):
    with pytest.raises(Diverged, match=r"loss cycle_x is .* at step 7"):
        require_finite({"adversarial_y": 1.0, "cycle_x": value}, 7)


def test_the_rate_to_lower_is_that_of_the_kind_of_training():
    assert [rate_setting(kind) for kind in ("adversarial", "distillation", "warm start")] == [
        "optimiser.rate", "optimiser.rate", "warmstart.rate",
    ]  # fmt: skip
    with pytest.raises(Diverged, match=r"\(warmstart\.rate\)"):
        require_finite({"pixel": math.nan}, 7, "warmstart.rate")
    with pytest.raises(Diverged, match=r"\(warmstart\.rate\)"):
        require_sound(torch.nn.Identity(), {"weight": torch.tensor(math.nan)}, 7, "warmstart.rate")


class Still:
    """A warm start that learns nothing and always has the same loss."""

    kind = "warm start"

    def __init__(self, loss=0.0):
        self.step, self.loss = 0, loss
        self.enhancer = build_generator("fast", widths=[8, 8, 8], blocks=[1, 1, 1])

    def advance(self):
        self.step += 1
        return {"pixel": torch.tensor(self.loss)}

    def state_dict(self):
        return {"step": self.step}


def run_of(training, folder, ranks, minutes=None):
    journal = SimpleNamespace(losses=lambda step, losses: None, wants_grid=lambda step: False)
    vault, cpu = Vault(folder, keep=1), torch.device("cpu")
    return Run(training, load_config("smoke"), 9, vault, journal, ranks, cpu, {}, minutes=minutes)


@pytest.mark.parametrize(("vote", "outcome"), [(-1, Outcome.OUT_OF_TIME), (-2, Outcome.INTERRUPTED)])
def test_ranks_that_stop_because_one_is_late_are_out_of_time_and_not_interrupted(tmp_path, monkeypatch, vote, outcome):
    def all_reduce(values):  # the other rank's: the last vote says late, the one before it asked
        values[vote] += 1

    monkeypatch.setattr("torch.distributed.all_reduce", all_reduce)
    monkeypatch.setattr("torch.distributed.barrier", lambda: None)
    assert run_loop(run_of(Still(), tmp_path, Ranks(0, 2)), Progress()) is outcome


def test_a_rank_that_is_late_itself_and_one_alone_are_out_of_time(tmp_path):
    assert run_loop(run_of(Still(), tmp_path, Ranks(), minutes=0), Progress()) is Outcome.OUT_OF_TIME


def test_a_warm_start_that_diverges_names_its_own_rate(tmp_path):
    with pytest.raises(Diverged, match=r"\(warmstart\.rate\)"):
        run_loop(run_of(Still(math.nan), tmp_path, Ranks()), Progress())


def test_the_plain_step_of_the_benchmark_has_no_tf32_and_the_loop_has_it():
    def seen():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = seen()
    try:
        plain, loop = with_tf32(seen, allowed=False), with_tf32(seen, allowed=True)
        assert [plain(), loop(), plain()] == [("highest", False), ("high", True), ("highest", False)]
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def test_a_discriminator_has_won_after_its_patience_and_not_before():
    config, progress = WatchConfig(loss=0.01, adversarial=0.9, patience=5), Progress()
    lost = {"discriminator_y": 0.001, "adversarial_y": 0.99, "discriminator_x": 0.2, "adversarial_x": 0.4}
    assert [watch(lost, progress, config) for _ in range(5)] == [None, None, None, None, "y"]


def test_a_small_weight_of_the_adversarial_loss_does_not_hide_that_a_discriminator_has_won():
    config, progress = load_config("fast", ["watch.patience=5"]), Progress()
    lost = {"discriminator_x": 0.001, "adversarial_x": config.adversarial * 0.99}
    called = [watch(lost, progress, config.watch, weight=config.adversarial) for _ in range(5)]
    assert called == [None, None, None, None, "x"]
    open_ = {"discriminator_x": 0.001, "adversarial_x": config.adversarial * 0.9}
    assert not any(watch(open_, Progress(), config.watch, weight=config.adversarial) for _ in range(9))


def test_an_open_game_is_never_called():
    config, progress = WatchConfig(patience=2), Progress()
    even = {"discriminator_y": 0.25, "adversarial_y": 0.25, "discriminator_x": 0.25, "adversarial_x": 0.25}
    assert not any(watch(even, progress, config) for _ in range(50))
    assert not any(watch({"pixels": 0.0}, Progress(), config) for _ in range(5))


def test_a_gpu_that_is_asked_for_and_absent_is_one_clear_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigurationError, match="GPU was asked for"):
        choose_device("cuda")
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")


def test_more_ranks_than_gpus_is_one_clear_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("auto") == torch.device("cuda", 0)
    with pytest.raises(ConfigurationError, match="Rank 1 of this machine has no GPU"):
        choose_device("cuda", local_rank=1)


class Same(torch.nn.Module):
    """A generator that returns its input and asks for sizes of its own."""

    def __init__(self, multiple: int) -> None:
        super().__init__()
        self.multiple = multiple

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        assert image.shape[-1] % self.multiple == image.shape[-2] % self.multiple == 0
        self.seen = image
        return image


@pytest.mark.parametrize("multiple", [1, 4, 16, 256])
@pytest.mark.parametrize("size", [(64, 64), (65, 127), (97, 300)])
def test_pixels_come_back_unchanged_from_a_generator_that_changes_nothing(multiple, size):
    image = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(PixelContract(Same(multiple))(image), image)


def test_the_padding_reflects_the_border_without_repeating_it():
    image = torch.randint(0, 256, (1, 65, 70, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for multiple in (4, 256):
        inner = Same(multiple)
        PixelContract(inner)(image)
        assert torch.equal(inner.seen[..., 65, :70], inner.seen[..., 63, :70])
        assert torch.equal(inner.seen[..., :65, 71], inner.seen[..., :65, 67])


def test_values_outside_the_range_are_clipped_and_then_rounded():
    class Louder(Same):
        def forward(self, image):
            return image * 3

    image = torch.tensor([0, 127, 128, 255], dtype=torch.uint8).view(1, 1, 4, 1).expand(1, 64, 4, 3)
    wide = image.repeat(1, 1, 16, 1)
    assert PixelContract(Louder(1))(wide)[0, 0, :4, 0].tolist() == [0, 126, 129, 255]


def test_the_exported_contract_of_the_fast_generator_takes_any_size():
    contract = PixelContract(build_generator("fast", widths=[8, 8, 8], blocks=[1, 1, 1])).eval()
    with torch.no_grad():
        assert contract(torch.zeros(1, 67, 131, 3, dtype=torch.uint8)).shape == (1, 67, 131, 3)
