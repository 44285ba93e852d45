"""The page without a server in Chromium: its JavaScript computes what Python does, and asks nobody."""

import base64
import re
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright", reason="the package playwright is not installed")

from playwright.sync_api import Browser, Page, expect

from tests.browser import Heard
from tests.checkpoints import untrained
from tests.serve.pictures import SEVEN, TWO, Drawing, drawn, on_paper, scribble, special
from tinygrad_mnist import Tensor, nn
from tinygrad_mnist.data import Dataset, Standardizer, load
from tinygrad_mnist.data.prepare import place_digit
from tinygrad_mnist.nn.module import evaluation_mode
from tinygrad_mnist.serve.network_data import network_data
from tinygrad_mnist.serve.recognition import Recogniser
from tinygrad_mnist.serve.static_page import SCRIPTS, static_files, write_page
from tinygrad_mnist.training import RECIPES, Checkpoint, train
from tinygrad_mnist.training.runs import run as run_module

CLOSE = 1e-4
"""How far the numbers of the page may be from Python's, and as a share of the largest too."""


def slow(*values: Any) -> Any:
    """A case that `make test` leaves out."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture(autouse=True)
def uncompiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs are compiled for each model in the slow tests alone."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr("tinygrad_mnist.serve.network.hindrance", lambda: "it takes time")


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Iterator[Page]:
    """An empty page with the JavaScript that computes, without a model."""
    heard = Heard()
    page = browser.new_page()
    heard.listen(page)
    for script in SCRIPTS[1:3]:
        page.add_script_tag(content=static_files(untrained("digits"))[script].decode())
    yield page
    assert heard.complaints == []


Trained = Callable[[str], tuple[Checkpoint, list[Drawing]]]


@pytest.fixture
def trained(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """A function that trains by a recipe for a few seconds; it returns the model, and digits to recognise."""

    def make(name: str) -> tuple[Checkpoint, list[Drawing]]:
        monkeypatch.setattr(run_module, "draw_pictures", lambda *_: ((), ()))
        if name == "digits":
            data, recipe = load("digits"), RECIPES["digits"].changed(epochs=5)
            shown = [np.pad(digit, 10) for digit in data.test_images[:5]]
        else:
            whole = load(request.getfixturevalue("mnist_dir"))
            data = Dataset(
                "some of MNIST",
                *(whole.train_images[:2500], whole.train_labels[:2500]),
                *(whole.test_images[:500], whole.test_labels[:500]),
                classes=10,
            )
            recipe, shown = RECIPES[name].changed(epochs=1), data.test_images[:5]
        checkpoint = train(recipe, data, out=tmp_path / "run", report=False).checkpoint
        return checkpoint, [on_paper(digit) for digit in shown]

    return make


def as_ink(drawing: Drawing) -> dict[str, Any]:
    """A drawing on its way to the browser; `INK` unpacks it there."""
    height, width = drawing.shape
    return {"width": width, "height": height, "values": base64.b64encode(drawing.tobytes()).decode()}


INK = "ink = ({values, ...size}) => ({...size, values: Uint8Array.from(atob(values), c => c.charCodeAt())})"


def assert_close(found: Any, expected: Any, what: str = "", most: float = 1.0) -> None:
    """Check numbers of the page against Python's: closer than 1e-4 of the largest, and of `most`."""
    expected = np.asarray(expected, np.float64)
    close = CLOSE * min(most, np.abs(expected).max(initial=1e-3))
    np.testing.assert_allclose(found, expected, rtol=0, atol=close, err_msg=what)


# ---- layer by layer ----------------------------------------------------------------------------------------

Rng = np.random.Generator
CHANNELS = 6


def conv(rng: Rng) -> nn.Module:
    kernel = rng.integers(1, 5, 2)
    groups = int(rng.choice([1, 2, 3, 6]))
    padding = ["same", "valid", 1, (2, 0), ((1, 0), (0, 3))][rng.integers(5)]
    stride = (1, 1) if padding == "same" else tuple(map(int, rng.integers(1, 4, 2)))
    dilation = tuple(map(int, rng.integers(1, 3, 2)))
    return nn.Conv2d(
        *(CHANNELS, 2 * groups, tuple(map(int, kernel))), stride=stride, padding=padding, dilation=dilation,
        groups=groups, bias=bool(rng.integers(2)), rng=rng,
    )  # fmt: skip


def pool_sizes(rng: Rng) -> dict[str, Any]:
    kernel = tuple(map(int, rng.integers(1, 5, 2)))
    padding = tuple(int(rng.integers(length // 2 + 1)) for length in kernel)
    stride = tuple(map(int, rng.integers(1, 4, 2)))
    return {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": bool(rng.integers(2))}


def moved(norm: nn.Module, rng: Rng) -> nn.Module:
    """A norm with other weights and statistics than it begins with."""
    norm.load_state_dict(
        {
            name: rng.uniform(0.5, 2, values.shape).astype(np.float32) if values.ndim else values
            for name, values in norm.state_dict().items()
        }
    )
    return norm


LAYERS: dict[str, Callable[[Rng], nn.Module]] = {
    "conv": conv,
    "max-pool": lambda rng: nn.MaxPool2d(**pool_sizes(rng), dilation=tuple(map(int, rng.integers(1, 3, 2)))),
    "avg-pool": lambda rng: nn.AvgPool2d(
        **pool_sizes(rng),
        count_include_pad=bool(rng.integers(2)),
        divisor_override=[None, 3][rng.integers(2)],
    ),
    "adaptive": lambda rng: nn.AdaptiveAvgPool2d(1),
    "batch-norm": lambda rng: moved(nn.BatchNorm2d(CHANNELS, eps=1e-3), rng),
    "group-norm": lambda rng: moved(nn.GroupNorm(int(rng.choice([1, 2, 6])), CHANNELS), rng),
    "rms-norm": lambda rng: nn.Sequential(nn.Flatten(), nn.Linear(594, 7), moved(nn.RMSNorm(7), rng)),
    "layer-norm": lambda rng: moved(nn.LayerNorm((9, 11)), rng),
    "batch-norm of rows": lambda rng: nn.Sequential(nn.Flatten(), moved(nn.BatchNorm1d(594), rng)),
    "group-norm of rows": lambda rng: nn.Sequential(nn.Flatten(), moved(nn.GroupNorm(3, 594), rng)),
    "linear": lambda rng: nn.Sequential(nn.Flatten(), nn.Linear(594, 5, bias=bool(rng.integers(2)), rng=rng)),
    "relu": lambda rng: nn.ReLU(),
    "leaky-relu": lambda rng: nn.LeakyReLU(float(rng.uniform(0, 0.5))),
    "elu": lambda rng: nn.ELU(float(rng.uniform(0.5, 2))),
    "silu": lambda rng: nn.SiLU(),
    "gelu": lambda rng: nn.GELU(),
    "gelu by tanh": lambda rng: nn.GELU("tanh"),
    "tanh": lambda rng: nn.Tanh(),
    "sigmoid": lambda rng: nn.Sigmoid(),
    "softplus": lambda rng: nn.Softplus(float(rng.uniform(0.5, 3)), threshold=2.0),
    "hardtanh": lambda rng: nn.Hardtanh(-2.0, 1.0),
}
"""Layers of 6 channels of 9 x 11 pixels, with options that are drawn."""


def stack(layer: nn.Module, rng: Rng) -> nn.Sequential:
    """A layer behind a convolution that makes channels of small whole numbers, so that many are equal."""
    channels = nn.Conv2d(1, CHANNELS, 1)
    channels.load_state_dict(
        {
            "weight": rng.choice([-1.0, 1.0, 3.0], (CHANNELS, 1, 1, 1)).astype(np.float32),
            "bias": rng.integers(-1, 2, CHANNELS).astype(np.float32),
        }
    )
    return nn.Sequential(channels, layer)


def fits(model: nn.Module) -> bool:
    """Whether the windows of a layer fit into the pictures."""
    try:
        with evaluation_mode():
            model(np.zeros((1, 1, 9, 11), np.float32))
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("rounds", [2, slow(8)])
def test_each_layer_and_its_gradient_are_those_of_python(tab: Page, rounds: int) -> None:
    rng = np.random.default_rng(rounds)
    as_they_are = Standardizer(0.0, 1.0)
    cases, expected = [], []
    for name, make in LAYERS.items():
        models = [model for _ in range(rounds) if fits(model := stack(make(rng), rng))]
        for model in models:
            picture = rng.integers(0, 3, (9, 11))
            x = Tensor(as_they_are(picture[None]), requires_grad=True)
            with evaluation_mode():
                out = model(x)
            g = rng.normal(size=out.shape).astype(np.float32)
            np.sum(out * g).backward()
            data = network_data(model, (9, 11), as_they_are)
            cases.append({"model": data, "image": picture.ravel().tolist(), "g": g.ravel().tolist()})
            expected.append((f"{name}: {model[1]}", out.detach().numpy().ravel(), x.grad.numpy().ravel()))
    found = tab.evaluate(
        """cases => cases.map(({model, image, g}) => {
            const built = network.build(model);
            const result = built.forward(image);
            return [result.values.at(-1), built.gradient(result, g)].map((one) => Array.from(one));
        })""",
        cases,
    )
    assert len(found) > 0.8 * rounds * len(LAYERS)
    for (what, out, gradient), (own_out, own_gradient) in zip(expected, found, strict=True):
        assert_close(own_out, out, what)
        assert_close(own_gradient, gradient, f"gradient of {what}")


# ---- the prepared picture ----------------------------------------------------------------------------------

PREPARED = f"""([drawings, model]) => {{
    const {INK};
    return drawings.map((drawing) => {{
        try {{
            const {{image, placement}} = preparation.prepare(ink(drawing), model);
            return {{image: Array.from(image), placement}};
        }} catch (error) {{ return error.message; }}
    }});
}}"""


def assert_prepared_alike(tab: Page, recogniser: Recogniser, drawings: list[Drawing]) -> None:
    description = recogniser.describe()
    found = tab.evaluate(PREPARED, [[as_ink(drawing) for drawing in drawings], description])
    for number, (drawing, own) in enumerate(zip(drawings, found, strict=True)):
        expected = recogniser.prepare(drawing)
        what = f"drawing {number} of {drawing.shape}, {description['preparation']}"
        np.testing.assert_array_equal(
            np.array(own["image"]).reshape(expected.image.shape), expected.image, err_msg=what
        )
        np.testing.assert_allclose(own["placement"], expected.placement, atol=1e-9, err_msg=what)


KINDS: dict[str, Callable[[], Checkpoint]] = {
    "mnist": lambda: untrained("mlp"),
    "light": lambda: untrained("mlp", page="light"),
    "uci": lambda: untrained("digits"),
    "whole": lambda: untrained("mlp", shape=(20, 33), is_centred=False, page="dark"),
    "whole and light": lambda: untrained("mlp", shape=(33, 20), is_centred=False, page="light"),
    "whole on both": lambda: untrained("mlp", is_centred=False),
    "another size": lambda: untrained("mlp", shape=(17, 17)),
}
"""Models whose pictures are prepared in each way."""

MAIN = ("mnist", "uci", "whole")


@pytest.mark.parametrize("kind", [kind if kind in MAIN else slow(kind) for kind in KINDS])
def test_a_drawing_is_prepared_as_by_python_to_the_grey_level(tab: Page, kind: str) -> None:
    rng = np.random.default_rng(1)
    drawings = [*special(), *(scribble(rng) for _ in range(2))]
    assert_prepared_alike(tab, Recogniser(KINDS[kind]()), drawings)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAIN)
def test_many_drawings_and_digits_are_prepared_as_by_python(tab: Page, kind: str) -> None:
    rng = np.random.default_rng(2)
    digits = [on_paper(np.pad(digit, 10)) for digit in load("digits").test_images[:25]]
    drawings = [*digits, *(scribble(rng) for _ in range(35))]
    assert_prepared_alike(tab, Recogniser(KINDS[kind]()), drawings)


def test_a_picture_that_is_placed_already_stays(tab: Page) -> None:
    digit = place_digit(special()[9]).image
    assert_prepared_alike(tab, Recogniser(untrained("mlp")), [255 - digit])


@pytest.mark.parametrize(
    ("drawing", "sentence"),
    [
        (np.full((280, 280), 255, np.uint8), "the picture is blank: it shows no digit that stands out"),
        (np.full((280, 280), 250, np.uint8), "an empty margin was expected"),
        (np.full((2049, 10), 255, np.uint8), "a drawing of 1 to 2048 pixels a side was expected"),
    ],
)
def test_what_is_no_drawing_gets_a_sentence(tab: Page, drawing: Drawing, sentence: str) -> None:
    (found,) = tab.evaluate(PREPARED, [[as_ink(drawing)], Recogniser(untrained("mlp")).describe()])
    assert sentence in found


# ---- whole answers -----------------------------------------------------------------------------------------


def assert_answers_alike(tab: Page, checkpoint: Checkpoint, drawings: list[Drawing]) -> None:
    """Check answers of the page against those of Python: everything in them."""
    recogniser = Recogniser(checkpoint)
    files = static_files(checkpoint)
    for script in ("model.js", "local.js"):
        tab.add_script_tag(content=files[script].decode())
    answers = tab.evaluate(
        f"(drawings) => {{ const {INK}; return Promise.all(drawings.map(ink).map(recogniser.recognise)); }}",
        [as_ink(drawing) for drawing in drawings],
    )
    for drawing, found in zip(drawings, answers, strict=True):
        whole = recogniser.answer([recogniser.prepare(drawing)], explain=True)
        expected = {**whole["predictions"][0], "model": whole["model"]}
        assert found.keys() == expected.keys()
        for name in ("class", "index", "sure", "image", "model"):
            assert found[name] == expected[name], name
        for name in ("probability", "probabilities", "placement"):
            assert_close(found[name], expected[name], name)
        explanation, own = expected["explanation"], found["explanation"]
        assert_close(own["saliency"], explanation["saliency"], "saliency", most=np.inf)  # which are rounded
        assert_close(own["saliency"], gradient(checkpoint, found["image"], found["index"]), "gradient")
        assert_first_layers_alike(own["first_layer"], explanation["first_layer"])


def assert_first_layers_alike(found: Any, expected: Any) -> None:
    if expected is None:
        assert found is None
        return
    assert {found["module"], found["kind"]} == {expected["module"], expected["kind"]}
    assert [unit["unit"] for unit in found["units"]] == [unit["unit"] for unit in expected["units"]]
    for unit, own in zip(expected["units"], found["units"], strict=True):
        assert_close(own["map"], unit["map"], "map of a unit", most=np.inf)
        assert_close(own["value"], unit["value"], "value of a unit", most=np.inf)


def gradient(checkpoint: Checkpoint, image: Any, index: int) -> np.ndarray:
    """The gradient of the score of a class by the standardised picture, by the engine as it is."""
    x = Tensor(checkpoint.standardizer(np.array([image])), requires_grad=True)
    with evaluation_mode():
        checkpoint.model(x)[0, index].backward()
    return np.pad(x.grad.numpy()[0, 0], checkpoint.standardizer.crop)


QUICK = ("cnn", "digits")


@pytest.mark.parametrize("recipe", [name if name in QUICK else slow(name) for name in RECIPES])
def test_answers_of_every_recipe_are_those_of_python(tab: Page, recipe: str) -> None:
    rng = np.random.default_rng(3)
    assert_answers_alike(tab, untrained(recipe), [scribble(rng), special()[9]])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "cnn", "mlp"])
def test_answers_of_trained_models_are_those_of_python(tab: Page, trained: Trained, name: str) -> None:
    checkpoint, digits = trained(name)
    rng = np.random.default_rng(5)
    drawings = [drawn(SEVEN, 20), drawn(TWO, 20), *digits, *(scribble(rng) for _ in range(10))]
    assert_answers_alike(tab, checkpoint, drawings)


@pytest.mark.parametrize(
    "changes",
    [
        {"activation": "gelu", "norm": "group"},
        *(slow({"activation": name}) for name in ("leaky-relu", "tanh", "sigmoid")),
        *(slow({"norm": name}) for name in ("none", "layer")),
        {"layers": ("norm", "conv 30 4x4 stride 3 padding 2", "activation", "avg-pool 3 stride 2 padding 1")},
    ],
    ids=str,
)
def test_answers_with_other_layers_are_those_of_python(tab: Page, changes: dict[str, Any]) -> None:
    rng = np.random.default_rng(4)
    layers = ("conv 30 5x5 stride 2 padding 1", "norm", "activation", "avg-pool 2", "flatten")
    recipe = RECIPES["cnn"].changed(**{"layers": layers, **changes})
    if recipe.layers[-1] != "flatten":
        recipe = recipe.changed(layers=(*recipe.layers, "flatten"))
    assert_answers_alike(tab, untrained(recipe), [scribble(rng)])


def test_a_correction_is_kept_nowhere_and_the_page_says_so(tab: Page) -> None:
    files = static_files(untrained("digits"))
    for script in ("model.js", "local.js"):
        tab.add_script_tag(content=files[script].decode())
    found = tab.evaluate("recogniser.correct({}, '7')")
    assert found == {
        "kept": False,
        "message": "Thank you: it is \u20687\u2069. Nothing is kept: this page has no server.",
    }
    described = tab.evaluate("recogniser.describe()")
    assert described["keeps"] is False
    assert described["version"] == Recogniser(untrained("digits")).version


# ---- the folder --------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the page is written to; the directory that it is in is there."""
    path = tmp_path / "site" / "digits" / "page"
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """The address at which a plain static host shows the folder, below the root of the host."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    site = tmp_path / "site"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/digits/page/"
        server.shutdown()


def draw(page: Page, points: list[tuple[float, float]]) -> None:
    """Draw a line with the mouse, from point to point, as shares of the pad's sides."""
    box = page.get_by_role("application", name="Drawing pad").bounding_box()
    assert box is not None
    for number, (x, y) in enumerate(points):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
        if number == 0:
            page.mouse.down()
    page.mouse.up()


def shares(page: Page) -> list[str]:
    bars = page.get_by_role("list", name="Probability of each class")
    return bars.get_by_role("listitem").all_inner_texts()


def assert_recognises(page: Page, heard: Heard, home: str, address: str) -> None:
    """Open the page, draw, look at what it shows, and clear; it may ask for nothing outside its folder."""
    heard.listen(page)
    page.goto(address)
    expect(page.locator("#note")).to_contain_text("nothing that you draw leaves it")
    rest = shares(page)
    draw(page, SEVEN)
    for name in (
        "The picture that the network is shown: 8 by 8 squares",
        re.compile("^Your strokes, coloured: [0-9]+ % speaks for"),
        "The first layer, Linear: 24 units",
    ):
        expect(page.get_by_role("img", name=name)).to_be_visible()
    assert shares(page) != rest
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_role("img", name="The first layer: empty")).to_be_attached()
    assert heard.complaints == []
    assert heard.elsewhere(home) == []


def test_the_folder_opened_as_a_file_recognises_and_asks_nobody(browser: Browser, folder: Path) -> None:
    write_page(untrained("digits"), folder)
    page = browser.new_page()
    assert_recognises(page, Heard(), folder.as_uri(), (folder / "index.html").as_uri())
    page.close()


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("model.js", None),
        ("model.js", 5000),
        *(slow(name, None) for name in ("network.js", "preparation.js", "local.js", "strokes.js", "pad.js")),
        *(slow(name, None) for name in ("bars.js", "picture.js", "asking.js")),
    ],
)
def test_a_file_that_is_missing_or_cut_off_is_named(
    browser: Browser, folder: Path, name: str, size: int | None
) -> None:
    write_page(untrained("digits"), folder)
    whole = (folder / name).read_bytes()
    (folder / name).unlink()
    if size is not None:
        (folder / name).write_bytes(whole[:size])
    page = browser.new_page()
    page.goto((folder / "index.html").as_uri())
    trouble = page.locator("#trouble")
    expect(trouble).to_contain_text(f"The file {name} is missing or incomplete")
    expect(trouble).to_contain_text("opy the whole folder.")
    page.close()


@pytest.mark.slow
def test_chosen_colours_are_kept_in_a_page_that_is_a_file(browser: Browser, folder: Path) -> None:
    write_page(untrained("digits"), folder)
    page = browser.new_page()
    page.goto((folder / "index.html").as_uri())
    page.get_by_role("button", name="Dark colours").click()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.close()


@pytest.mark.slow
def test_the_folder_on_a_static_host_recognises_and_asks_nobody_else(
    browser: Browser, folder: Path, host: str
) -> None:
    write_page(untrained("digits"), folder)
    page = browser.new_page()
    assert_recognises(page, Heard(), host, host)
    page.close()


@pytest.mark.slow
def test_the_policy_in_the_page_is_in_force(browser: Browser, folder: Path, host: str) -> None:
    write_page(untrained("digits"), folder)
    page = browser.new_page()
    page.goto(host)
    asked = page.evaluate("() => fetch('model.js').then(() => 'answered', (error) => error.name)")
    ran = page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "globalThis.ran = true";
            document.head.append(script);
            return globalThis.ran ?? false;
        }"""
    )
    page.close()
    assert (asked, ran) == ("TypeError", False)
