import numpy as np

from tinygrad_mnist import nn


def test_a_layer_shows_shapes_and_the_number_of_its_parameters() -> None:
    assert repr(nn.Linear(3, 2)) == "Linear(3, 2)  # weight (2, 3), bias (2,): 8 parameters"
    assert repr(nn.Linear(3, 2, bias=False)) == "Linear(3, 2, bias=False)  # weight (2, 3): 6 parameters"
    assert repr(nn.ReLU()) == "ReLU()"


def test_a_model_is_a_tree_with_a_total() -> None:
    model = nn.Sequential(
        nn.Flatten(), nn.Sequential(nn.Linear(784, 64), nn.BatchNorm1d(64)), nn.Linear(64, 10)
    )
    assert repr(model).splitlines() == [
        "Sequential(",
        "  (0): Flatten(start_dim=1, end_dim=-1)",
        "  (1): Sequential(",
        "    (0): Linear(784, 64)                 # weight (64, 784), bias (64,): 50,240",
        "    (1): BatchNorm1d(64)                 # weight (64,), bias (64,): 128",
        "  )",
        "  (2): Linear(64, 10)                    # weight (10, 64), bias (10,): 650",
        ")                                        # 51,018 parameters",
    ]


def test_shared_and_frozen_parameters_are_counted_rightly() -> None:
    layer = nn.Linear(2, 2)
    assert repr(nn.Sequential(layer, layer)).endswith("# 6 parameters")
    layer.bias.requires_grad_(False)
    assert repr(nn.Sequential(layer)).endswith("# 6 parameters, 4 of them trained")


def test_parameters_beside_modules_stand_at_the_head() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(np.ones(3))
            self.act = nn.Tanh()

    assert repr(Model()).splitlines() == [
        "Model(           # scale (3,): 3",
        "  (act): Tanh()",
        ")                # 3 parameters",
    ]


def test_an_empty_model_has_no_parameters_to_show() -> None:
    assert repr(nn.Sequential()) == "Sequential()"
    assert repr(nn.Sequential(nn.ReLU())).splitlines()[-1].endswith("# 0 parameters")


def test_each_module_shows_how_it_was_made() -> None:
    modules = [
        nn.BatchNorm1d(4, momentum=None, affine=False), nn.BatchNorm1d(4, eps=0.1, track_running_stats=False),
        nn.LayerNorm(3, elementwise_affine=False), nn.LayerNorm((2, 3), eps=0.1, elementwise_affine=False),
        nn.Dropout(0.2), nn.LeakyReLU(0.1), nn.GELU("tanh"), nn.Softmax(1), nn.LogSoftmax(dim=-1),
        nn.Identity(),
        nn.CrossEntropyLoss(label_smoothing=0.1, reduction="sum"), nn.MSELoss(), nn.NLLLoss(reduction="none"),
    ]  # fmt: skip
    assert [repr(module).split("  #")[0] for module in modules] == [
        "BatchNorm1d(4, momentum=None, affine=False)", "BatchNorm1d(4, eps=0.1, track_running_stats=False)",
        "LayerNorm((3,), elementwise_affine=False)", "LayerNorm((2, 3), eps=0.1, elementwise_affine=False)",
        "Dropout(p=0.2)", "LeakyReLU(negative_slope=0.1)", "GELU(approximate='tanh')", "Softmax(dim=1)",
        "LogSoftmax(dim=-1)", "Identity()",
        "CrossEntropyLoss(reduction='sum', label_smoothing=0.1)", "MSELoss()", "NLLLoss(reduction='none')",
    ]  # fmt: skip
