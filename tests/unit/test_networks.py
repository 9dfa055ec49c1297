"""The networks are the papers' networks."""

import numpy as np
import pytest
import torch

from model_training.config.schema import GeneratorConfig
from model_training.networks import build, build_generator, multiple_of, parameter_count
from model_training.networks.conditional import CODE_LENGTH, CodedGenerator, degradation_code
from model_training.networks.patchgan import PatchGan
from model_training.networks.vgg import VggFeatures
from service.errors import ConfigurationError, DataError
from tests.training_files import write_vgg

TINY = [
    ("resnet", {"blocks": 2, "width": 4}),
    ("resunet", {"depth": 4, "width": 4}),
    ("fast", {"widths": [8, 8, 8], "blocks": [1, 1, 1]}),
]


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    return write_vgg(tmp_path_factory.mktemp("weights") / "vgg.npz")


def test_the_paper_s_networks_have_the_paper_s_parameter_counts():
    assert parameter_count(build_generator("resnet", blocks=9, width=64)) == 11_378_179
    assert parameter_count(PatchGan(width=64, layers=3)) == 2_764_737


@pytest.mark.parametrize(("name", "options"), TINY)
def test_a_generator_keeps_shape_and_range_at_its_multiple(name, options):
    torch.manual_seed(0)
    generator = build_generator(name, **options).eval()
    multiple = multiple_of(generator)
    height, width = 64 // multiple * multiple, 96 // multiple * multiple
    output = generator(torch.rand(2, 3, height, width) * 2 - 1)
    assert output.shape == (2, 3, height, width)
    assert output.dtype == torch.float32
    assert -1 <= output.min() <= output.max() <= 1


def test_the_resunet_of_stillgan_reaches_one_pixel_at_its_crop_size():
    generator = build_generator("resunet", depth=8, width=2).eval()
    assert multiple_of(generator) == 256
    assert generator(torch.zeros(1, 3, 256, 256)).shape == (1, 3, 256, 256)


def test_each_score_of_the_discriminator_sees_70_by_70_pixels():
    torch.manual_seed(0)
    judge = PatchGan(width=2, layers=3)
    # Instance norm looks at the whole image: without it, what is left is the stack's own field of view.
    stack = torch.nn.Sequential(*[layer for layer in judge.layers if not isinstance(layer, torch.nn.InstanceNorm2d)])
    image = torch.rand(1, 3, 256, 256, requires_grad=True)
    scores = stack(image)
    assert scores.shape == (1, 1, 30, 30)
    scores[0, 0, 15, 15].backward()
    seen = image.grad.abs().sum(dim=(0, 1)).nonzero()
    assert (seen.amax(dim=0) - seen.amin(dim=0) + 1).tolist() == [70, 70]


def test_an_unknown_option_of_a_generator_is_one_clear_sentence():
    with pytest.raises(ConfigurationError, match="resnet generator does not take"):
        build(GeneratorConfig(name="resnet", options={"depth": 3}))


def test_a_coded_generator_starts_as_its_inner_one_and_then_heeds_the_code():
    torch.manual_seed(0)
    inner = build_generator("fast", widths=[8, 8, 8], blocks=[1, 1, 1]).eval()
    coded = CodedGenerator(inner).eval()
    image, code = torch.rand(2, 3, 64, 64) - 0.5, torch.randn(2, CODE_LENGTH)
    assert torch.equal(coded(image, code), inner(image))
    torch.nn.init.normal_(coded.read[-1].weight, std=0.05)
    assert not torch.allclose(coded(image, code), coded(image, -code))


def test_the_degradation_code_reads_colour_contrast_and_sharpness():
    rng = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, 64, 64, generator=rng) - 0.5
    soft = torch.nn.functional.avg_pool2d(image, 5, 1, 2)
    sharp_code, soft_code = degradation_code(image)[0], degradation_code(soft)[0]
    assert sharp_code[:3].tolist() == pytest.approx(image.mean(dim=(0, 2, 3)).tolist(), abs=1e-6)
    assert sharp_code[3:6].tolist() == pytest.approx(image[0].flatten(1).std(dim=1).tolist(), abs=1e-6)
    assert (soft_code[6:] < sharp_code[6:]).all()


def test_caffe_s_and_torchvision_s_files_give_the_same_features(vgg_file, tmp_path):
    # The same network written for the other normalisation: RGB instead of BGR, input over 255 and a deviation.
    state = {}
    with np.load(vgg_file) as npz:
        for layer, name in zip((0, 2, 5, 7), ("conv1_1", "conv1_2", "conv2_1", "conv2_2"), strict=True):
            weight, bias = torch.from_numpy(npz[f"{name}_w"]), torch.from_numpy(npz[f"{name}_b"])
            if layer == 0:
                weight = weight.flip(1) * 255 * torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
            scale = 1 / 57.4 if layer == 7 else 1.0
            state[f"features.{layer}.weight"], state[f"features.{layer}.bias"] = weight * scale, bias * scale
    torch.save(state | {"classifier.6.bias": torch.zeros(1000)}, tmp_path / "vgg16.pth")
    image = torch.rand(1, 3, 64, 72, generator=torch.Generator().manual_seed(0)) * 2 - 1
    caffe, torchvision = VggFeatures(vgg_file)(image), VggFeatures(tmp_path / "vgg16.pth")(image)
    assert caffe.shape == (1, 128, 16, 18)
    # The published means differ by up to half a grey level between the two.
    assert (caffe - torchvision).abs().max() < 1e-2 * caffe.abs().max()


def test_the_features_are_frozen_but_let_gradients_through(vgg_file):
    features = VggFeatures(vgg_file)
    image = torch.zeros(1, 3, 32, 32, requires_grad=True)
    features(image).sum().backward()
    assert not any(parameter.requires_grad for parameter in features.parameters())
    assert image.grad.abs().sum() > 0


def test_the_shared_weights_are_read(shared_data):
    assert VggFeatures(shared_data / "weights" / "vgg16_conv1-2.npz").caffe


def test_a_missing_and_a_wrong_weights_file_are_one_clear_sentence_each(tmp_path):
    with pytest.raises(DataError, match="no VGG weights file"):
        VggFeatures(tmp_path / "absent.npz")
    (tmp_path / "text.npz").write_text("not weights")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    np.savez(
        tmp_path / "shapes.npz",
        **{f"{n}_{k}": np.zeros((3, 3)) for n in ("conv1_1", "conv1_2", "conv2_1", "conv2_2") for k in "wb"},
    )
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "part.pth")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    (tmp_path / "text.pth").write_text("not weights")
    (tmp_path / "photo.webp").write_bytes(b"RIFF\x10\x00\x00\x00WEBPVP8 ")
    for name in ("text.npz", "other.npz", "shapes.npz", "part.pth", "tensor.pth", "text.pth", "photo.webp"):
        with pytest.raises(DataError, match="holds no VGG16 weights"):
            VggFeatures(tmp_path / name)
