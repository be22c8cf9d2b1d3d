"""Where a model draws random numbers, by module or by call; and that looking leaves the model as it was."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from everforge.runners.facts.randomness import Randomness, randomness_of


class Noisy(nn.Module):
    """Dropout as a module, inside others and as a call."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.25), nn.Dropout(0.0))
        self.norm = nn.BatchNorm1d(4)
        self.rnn = nn.LSTM(4, 4, 2, dropout=0.5)
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.dropout(self.norm(self.net(x)), 0.3, self.training)
        return self.attention(*[self.rnn(x[None])[0]] * 3)[0]


PLACES = [
    "module net.1 (Dropout, p=0.25)",
    "dropout() in forward()",
    "module rnn (LSTM)",
    "module attention (MultiheadAttention)",
]


def test_mode_decides_whether_dropout_draws() -> None:
    x = torch.randn(3, 4)
    model = Noisy()
    assert randomness_of(model.eval(), lambda: model(x)) == Randomness(dormant=PLACES)
    trained = randomness_of(model.train(), lambda: model(x))
    assert trained == Randomness(active=PLACES, batch_statistics=["module norm (BatchNorm1d)"])


@pytest.mark.parametrize(
    ("draw", "name"),
    [
        pytest.param(lambda x: x + torch.rand(4), "rand", id="factory"),
        pytest.param(torch.randn_like, "randn_like", id="like"),
        pytest.param(torch.bernoulli, "bernoulli", id="bernoulli"),
        pytest.param(lambda x: x.clone().uniform_(), "uniform_", id="in place"),
        pytest.param(lambda x: functional.dropout(x), "dropout", id="dropout that ignores the mode"),
        pytest.param(functional.gumbel_softmax, "gumbel_softmax", id="gumbel"),
    ],
)
def test_calls_that_draw_are_named(draw: object, name: str) -> None:
    x = torch.rand(3, 4)
    assert randomness_of(nn.Identity(), lambda: draw(x)).active == [f"{name}() in forward()"]  # type: ignore[operator]


def test_model_without_randomness_shows_none_and_keeps_no_hook() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    assert randomness_of(model, lambda: model(torch.ones(3, 4))) == Randomness()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
