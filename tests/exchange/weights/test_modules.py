"""Every module of `nn` to files and back: against what PyTorch wrote, and against PyTorch where it is."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.exchange.weights.modules import CASES, everything, modules_of_nn
from tinygrad_mnist import Tensor, exchange, nn

FILES = Path(__file__).parent / "files"
RECORDED = json.loads((FILES / "outputs.json").read_text(encoding="utf-8"))
MODES = ["evaluation", "training"]


@pytest.fixture
def model() -> nn.Module:
    """All modules, with values of their own, and after a step in training."""
    nn.manual_seed(0)
    model = everything(nn)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    for name, case in CASES.items():
        model[name](*case.inputs)
    return model


def assert_equal(state: dict[str, Any], expected: dict[str, Any]) -> None:
    assert state.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(state[name], array, strict=True, err_msg=name)


def values(output: Any) -> np.ndarray:
    return Tensor(output).numpy()  # Identity gives back what it was given


def test_every_module_has_a_case() -> None:
    assert CASES.keys() == modules_of_nn()
    assert RECORDED["evaluation"].keys() == CASES.keys()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_pytorchs_files_give_pytorchs_outputs(suffix: str, mode: str) -> None:
    model = everything(nn)
    assert model.load(FILES / f"modules{suffix}") == ([], [])
    model.train(mode == "training")
    for name, case in CASES.items():
        expected = RECORDED[mode].get(name, RECORDED["evaluation"][name])
        out = values(model[name](*case.inputs))
        np.testing.assert_allclose(out.ravel(), expected, rtol=2e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("suffix", exchange.FORMATS)
def test_what_is_saved_is_what_is_loaded(
    suffix: str, training: bool, model: nn.Module, tmp_path: Path
) -> None:
    model.train(training).save(tmp_path / f"a{suffix}")
    twin = everything(nn).train(not training)
    assert twin.load(tmp_path / f"a{suffix}") == ([], [])
    assert_equal(twin.state_dict(), model.state_dict())
    assert twin.training is not training  # a file has no mode


def test_the_files_of_both_have_the_same_names() -> None:
    ours = everything(nn).state_dict()
    for suffix in (".pt", ".safetensors"):
        theirs = exchange.load_weights(FILES / f"modules{suffix}")
        assert {name: (a.shape, a.dtype) for name, a in theirs.items()} == {
            name: (a.shape, a.dtype) for name, a in ours.items()
        }
        assert theirs["Module.encoder.weight"] is theirs["Module.decoder.weight"]  # tied


# ---- PyTorch itself --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what PyTorch says when it is imported is not ours
        return pytest.importorskip("torch")


def to_pt(torch: Any, model: Any, path: Path) -> None:
    torch.save(model.state_dict(), path)


def from_pt(torch: Any, model: Any, path: Path) -> None:
    model.load_state_dict(torch.load(path, weights_only=True))


def from_mapped_pt(torch: Any, model: Any, path: Path) -> None:
    model.load_state_dict(torch.load(path, weights_only=True, mmap=True))


def to_safetensors(torch: Any, model: Any, path: Path) -> None:
    pytest.importorskip("safetensors.torch").save_model(model, str(path))


def from_safetensors(torch: Any, model: Any, path: Path) -> None:
    assert pytest.importorskip("safetensors.torch").load_model(model, str(path)) == (set(), [])


def from_npz(torch: Any, model: Any, path: Path) -> None:
    with np.load(path) as file:
        model.load_state_dict({name: torch.from_numpy(file[name]) for name in file})


def to_npz(torch: Any, model: Any, path: Path) -> None:
    np.savez(path, **{name: value.numpy() for name, value in model.state_dict().items()})


def assert_outputs_agree(torch: Any, ours: nn.Module, theirs: Any) -> None:
    """In both modes, and the running statistics after it."""
    for training in (False, True):
        ours.train(training)
        theirs.train(training)
        for name, case in CASES.items():
            with torch.no_grad():
                expected = theirs[name](*map(torch.from_numpy, case.inputs)).numpy()
            out = values(ours[name](*case.inputs))
            np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-6, err_msg=name)
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], value.numpy(), rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.peers
@pytest.mark.parametrize(
    ("suffix", "take"),
    [(".pt", from_pt), (".pth", from_mapped_pt), (".safetensors", from_safetensors), (".npz", from_npz)],
)
def test_pytorch_takes_ours(suffix: str, take: Any, model: nn.Module, torch: Any, tmp_path: Path) -> None:
    model.save(tmp_path / f"a{suffix}")
    theirs = everything(torch.nn)
    take(torch, theirs, tmp_path / f"a{suffix}")
    assert_equal({name: value.numpy() for name, value in theirs.state_dict().items()}, model.state_dict())
    assert_outputs_agree(torch, model, theirs)


@pytest.mark.peers
@pytest.mark.parametrize(
    ("suffix", "give"), [(".pt", to_pt), (".safetensors", to_safetensors), (".npz", to_npz)]
)
def test_we_take_pytorchs(suffix: str, give: Any, torch: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = everything(torch.nn)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter)
    give(torch, theirs, tmp_path / f"a{suffix}")
    model = everything(nn)
    assert model.load(tmp_path / f"a{suffix}") == ([], [])
    assert_equal(model.state_dict(), {name: value.numpy() for name, value in theirs.state_dict().items()})
    assert_outputs_agree(torch, model, theirs)


@pytest.mark.peers
def test_state_dicts_in_memory_go_both_ways(model: nn.Module, torch: Any) -> None:
    theirs = everything(torch.nn)
    theirs.load_state_dict(exchange.to_torch(model))
    assert_outputs_agree(torch, model, theirs)
    twin = everything(nn)
    twin.load_state_dict(theirs.state_dict())
    assert_outputs_agree(torch, twin, theirs)


@pytest.mark.peers
def test_to_torch_copies_only_what_it_must(torch: Any) -> None:
    readonly = np.arange(3.0)
    readonly.flags.writeable = False
    state = {"own": np.ones((2, 3)), "T": np.ones((2, 3)).T, "big": np.ones(2, ">f4"), "readonly": readonly}
    tensors = exchange.to_torch(state)
    assert tensors["own"].data_ptr() == state["own"].ctypes.data
    tensors["readonly"][0] = 7
    assert readonly[0] == 0
    for name, array in state.items():
        np.testing.assert_array_equal(array[1:], tensors[name][1:].numpy())
    layer = nn.Linear(3, 2)
    for tensors in (exchange.to_torch(layer), exchange.to_torch(dict(layer.named_parameters()))):
        for name, parameter in layer.named_parameters():
            tensors[name].zero_()  # it is a copy: the tape would not notice
            assert np.any(parameter.data)


@pytest.mark.peers
def test_pytorch_takes_every_dtype_and_layout_of_ours(torch: Any, tmp_path: Path) -> None:
    arrays = {
        **{name: np.arange(6).astype(name).reshape(2, 3) for name in "?bhilBHILefd"},
        "number": np.array(2.5),
        "empty": np.zeros((0, 3), np.float32),
    }
    exchange.save_weights(arrays, tmp_path / "a.pt")
    for options in ({}, {"mmap": True}):
        found = torch.load(tmp_path / "a.pt", weights_only=True, **options)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name].numpy(), array, strict=True, err_msg=name)
    exchange.save_weights(arrays, tmp_path / "a.safetensors")
    found = pytest.importorskip("safetensors.torch").load_file(tmp_path / "a.safetensors")
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name].numpy(), array, strict=True, err_msg=name)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_the_state_of_an_optimiser_goes_both_ways(name: str, torch: Any) -> None:
    from tinygrad_mnist import optim

    ours, theirs = nn.Linear(3, 2), torch.nn.Linear(3, 2)
    theirs.load_state_dict(exchange.to_torch(ours))
    options = {"lr": 0.1, **({"momentum": 0.9} if name in ("SGD", "RMSprop") else {})}
    mine = getattr(optim, name)(ours.parameters(), **options)
    other = getattr(torch.optim, name)(theirs.parameters(), **options)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)

    def step() -> None:
        for model, optimizer, given in ((ours, mine, x), (theirs, other, torch.from_numpy(x))):
            optimizer.zero_grad()
            (model(given) ** 2).sum().backward()
            optimizer.step()

    step()
    mine.load_state_dict(other.state_dict())
    ours.load_state_dict(theirs.state_dict())
    step()
    np.testing.assert_allclose(ours.weight.data, theirs.weight.detach().numpy(), rtol=1e-5)
