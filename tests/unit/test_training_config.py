"""A configuration says everything once, and refuses what it does not know."""

import pytest
import torch

from benchmarks.training import _config as benchmarked
from model_training.commands.options import configured
from model_training.config.load import load_config, override, preset_names
from model_training.config.schema import TrainingConfig
from model_training.networks import build
from service.errors import ConfigurationError


@pytest.mark.parametrize("name", ["paper", "fast", "smoke"])
def test_each_preset_is_valid_for_each_objective(name):
    assert name in preset_names()
    for objective in ("lamegan", "cyclegan", "miinet", "stillgan"):
        assert load_config(name, [f"objective={objective}"]).objective == objective


def test_the_paper_preset_holds_the_paper_s_numbers():
    paper = load_config("paper")
    assert (paper.lamegan.cycle, paper.lamegan.structure, paper.lamegan.level) == (10.0, 0.25, 3)
    assert (paper.optimiser.rate, paper.optimiser.beta1, paper.optimiser.batch) == (2e-4, 0.5, 1)
    assert (paper.optimiser.constant, paper.optimiser.decay, paper.optimiser.unit) == (100, 100, "epochs")
    assert (paper.pool, paper.ema, paper.restoration.weight, paper.code.enabled) == (50, 0.0, 0.0, False)
    assert (paper.data.height, paper.data.width, paper.data.crop) == (272, 480, 256)
    assert build(paper.generator_config).layers[1].out_channels == 64
    assert paper.miinet.perceptual == 0.5
    assert (paper.cyclegan.identity, paper.stillgan.identity) == (0.5, 0.5)
    assert (paper.stillgan.illumination, paper.stillgan.structure) == (0.1, 0.5)
    assert load_config("paper", ["objective=stillgan"]).generator_config.name == "resunet"


def test_a_file_extends_a_preset_and_overrides_win_over_both(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: smoke\npool: 7\nlamegan: {cycle: 3}\n")
    config = load_config(str(tmp_path / "mine.yaml"), ["lamegan.cycle=4", "objective=cyclegan", "data.flip=false"])
    assert (config.pool, config.lamegan.cycle, config.lamegan.structure) == (7, 4.0, 0.25)
    assert config.data.width == 96
    assert config.objective == "cyclegan"
    assert config.data.flip is False


def test_another_generator_s_options_do_not_linger():
    config = load_config("smoke", ["generator={name: resunet, options: {depth: 4}}"])
    assert config.generator_config.options == {"depth": 4}


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("lamegan.cylce=3", r"lamegan\.cylce"),
        ("optimiser.rate=-1", r"optimiser\.rate"),
        ("objective=pix2pix", "objective"),
        ("data.crop=500", "does not fit"),
        ("optimiser={constant: 0, decay: 0}", "nothing to train"),
        ("pool", "key=value"),
        ("pool={", "not YAML"),
        ("pool=2024-13-45", "not YAML"),
        ("warmstart.stepz=3", r"warmstart\.stepz"),
        ("warmstart.mixture.phantomz=1", r"warmstart\.mixture\.phantomz"),
        ("warmstart.rate=.inf", r"warmstart\.rate"),
        ("distillation.pixelz=1", r"distillation\.pixelz"),
        ("optimiser.rate=.inf", r"optimiser\.rate.*finite"),
        ("restoration.weights.pixel=.nan", r"restoration\.weights\.pixel"),
        ("seed=99999999999999999999", "seed"),
        ("stillgan.patches=[]", r"stillgan\.patches"),
        ("lamegan.level=1000000000", r"lamegan\.level"),
        ("generator.options.width=0", r"generator\.options.*width must be of whole numbers from 1"),
        ("generator.options.width=-8", r"generator\.options.*width must be"),
        ("generator.options.width=abc", r"generator\.options.*width must be"),
        ("generator.options.width=true", r"generator\.options.*width must be"),
        ("generator.options.blocks=-3", r"generator\.options.*blocks must be"),
        ("generator={name: fast, options: {widths: [8, 0, 8]}}", r"generator\.options.*widths must be"),
    ],
)
def test_an_unknown_key_and_a_wrong_value_are_one_clear_sentence(override, sentence):
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        load_config("smoke", [override])
    assert "\n" not in caught.value.detail


def test_a_generator_of_too_few_numbers_is_one_clear_sentence():
    config = load_config("smoke", ["generator={name: fast, options: {widths: [8, 8]}}"])
    with pytest.raises(ConfigurationError, match="fast generator does not take these options"):
        build(config.generator_config)


def test_a_file_that_is_no_text_is_one_clear_sentence(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"objective: caf\xe9\n")
    with pytest.raises(ConfigurationError, match="cannot be read as text"):
        load_config(str(tmp_path / "latin.yaml"))


def test_a_recipe_of_another_version_is_one_clear_sentence():
    for recipe, sentence in (
        ('{"optimiser": {"rate": null}}', r"at optimiser\.rate"),
        ("{", "not one of this version"),
    ):
        with pytest.raises(ConfigurationError, match=sentence):
            TrainingConfig.from_recipe(recipe)


def test_a_recipe_written_with_an_older_warm_start_is_still_read():
    assert TrainingConfig.from_recipe('{"warmstart": {"gone": 1}}').warmstart == {"gone": 1}


def test_the_recipes_of_shipped_presets_keep_their_digests():
    # A checkpoint's card names this digest: new settings may not change what an old recipe says of itself.
    section = load_config("fast").model_dump()["warmstart"]
    assert set(section) == {"steps", "batch", "rate", "ema", "degrader_every", "weights", "mixture"}


def test_absent_circular_and_shapeless_files_are_one_clear_sentence(tmp_path):
    with pytest.raises(
        ConfigurationError,
        match="the presets are fast, fast-grain, fast-heavy, fast-large, fast-last, fast-long, paper",
    ):
        load_config("papre")
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(ConfigurationError, match="extends itself"):
        load_config(str(tmp_path / "a.yaml"))
    (tmp_path / "c.yaml").write_text("- a list\n")
    with pytest.raises(ConfigurationError, match="must be a mapping"):
        load_config(str(tmp_path / "c.yaml"))


def test_a_recipe_tells_a_configuration_again_without_paths_of_this_machine():
    config = load_config("smoke", ["features.weights=/somewhere/vgg.npz", "lamegan.colour=0.5"])
    again = TrainingConfig.from_recipe(config.recipe())
    assert "/somewhere" not in config.recipe()
    assert again.model_dump(exclude={"features"}) == config.model_dump(exclude={"features"})
    assert again.digest() == config.digest() != load_config("smoke").digest()


@pytest.mark.parametrize("name", ["a #1.npz", "b: c.npz", "'d\" \\e.npz", "é😀\udcff.npz", "word " * 40])
def test_a_path_of_any_characters_reaches_the_configuration_whole(name, tmp_path):
    path = tmp_path / name
    assert load_config("smoke", [override("features.weights", str(path))]).features.weights == path
    assert configured("smoke", None, None, path).features.weights == path
    assert benchmarked(torch.device("cpu"), path).features.weights == path
