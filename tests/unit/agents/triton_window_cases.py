"""References of pooling and of losses over classes for the Triton emitter's tests; see `triton_cases.py`.

Run as a script like that one, whose process it shares: `triton_window_cases.py interpret|compile FOLDER`.
"""

import sys
from pathlib import Path
from typing import Any

import torch
import triton_cases as cases
from torch.nn import functional as F

along, SWEPT, SPLIT = cases.along, cases.SWEPT, cases.SPLIT
IMAGE = (2, 3, 13, 17)


def pools(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Overlap, padding, gaps, a rest, and a divisor of each kind."""
    return (
        *(F.max_pool2d(x, 3, 2, 1), F.max_pool2d(x, 2, 3, 0, 2), F.max_pool2d(x, 3, 2, 1, ceil_mode=True)),
        *(F.avg_pool2d(x, 4, 1, 1), F.avg_pool2d(x, (2, 3), 1, 1, count_include_pad=False)),
        *(F.avg_pool2d(x, 3, 2, 0, ceil_mode=True), F.avg_pool2d(x, 11), F.avg_pool2d(x, 2, divisor_override=3)),
        *(F.max_pool3d(x, 2, 2, 1), F.avg_pool3d(x, 2, 1)),
        *(F.max_pool1d(x.flatten(0, 1), 8, 1, 4), F.avg_pool1d(x.flatten(0, 1), 5, 2)),
    )


def slides(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Windows that move by one row: even, wide steps, without padding, less the surroundings."""
    return (
        *(F.max_pool2d(x, 4, 1, 1), F.avg_pool2d(x, (3, 5), (1, 2), (1, 2), count_include_pad=False)),
        *(torch.relu(F.max_pool2d(x, 2, 1)) * 2, x - F.avg_pool2d(x, 3, 1, 1)),
    )


def moments(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """A mean beside what is folded with it in one sweep."""
    mean, variance = x.mean(1, keepdim=True), x.var(1, correction=0, keepdim=True)
    return mean, variance, F.layer_norm(x, (123,)), (x - mean).abs().amin(1)


def entropies_of_rows(scores: torch.Tensor) -> torch.Tensor:
    """Some rows count, some are ignored."""
    return F.cross_entropy(scores, torch.where(scores[:, 5] > 0, -100, 3), reduction="none")


def entropies(scores: torch.Tensor, others: torch.Tensor) -> tuple[torch.Tensor, ...]:
    classes = others[:, 0].abs().long()
    return (
        *(F.cross_entropy(scores, classes), F.cross_entropy(scores, classes, others[0].abs(), reduction="sum")),
        *(F.cross_entropy(scores, classes, label_smoothing=0.1), F.cross_entropy(scores, others.softmax(1))),
        F.nll_loss(F.log_softmax(scores, 1), classes),
    )


def distances(anchor: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (
        F.triplet_margin_loss(anchor, positive, negative, swap=True),
        F.triplet_margin_loss(anchor, positive, negative, margin=30.0, p=1, reduction="none"),
    )


SCORES = ((6, 123), (6, 123))
CASES: dict[str, Any] = {
    **{
        f"entropies{suffix}": along(entropies, *SCORES, parameters=limits)
        for suffix, limits in (("", {}), ("-swept", SWEPT), ("-split", SPLIT))
    },
    **{
        f"entropies-edges{suffix}": along(entropies_of_rows, (6, 123), parameters=limits, edges=True)
        for suffix, limits in (("", {}), ("-swept", SWEPT), ("-split", SPLIT))
    },
    "entropies-of-pixels": along(lambda x: F.cross_entropy(x, x[:, 0].abs().long()), (3, 13, 4, 5)),
    **{
        f"moments-edges{suffix}": along(moments, (6, 123), parameters=limits, edges=True)
        for suffix, limits in (("", {}), ("-swept", SWEPT), ("-split", SPLIT))
    },
    "triplets": along(distances, *SCORES, (6, 123)),
    "triplets-swept": along(distances, *SCORES, (6, 123), parameters=SWEPT),
    "pools": along(pools, IMAGE),
    **{
        f"pools-slide{suffix}": along(slides, IMAGE, parameters={f"kernel_{n}_strip": rows for n in range(4)})
        for suffix, rows in (("", 4), ("-flat", 0), ("-one-strip", 32))
    },
    "pools-slide-edges": along(lambda x: F.max_pool2d(x[None], 3, 1, 1), (6, 123), edges=True),
    "pools-edges": along(lambda x: (F.max_pool1d(x, 3, 2, 1), F.avg_pool1d(x, 3, 1, 1)), (6, 123), edges=True),
    "pools-fused": along(
        lambda x: (x - F.avg_pool2d(torch.tanh(x), 3, 1, 1), F.relu(F.max_pool2d(x, 2)) * 2, x * 2), IMAGE
    ),
    "pools-in-rows": along(
        lambda x: (F.max_pool2d(x, 2).mean((2, 3)), torch.softmax(F.avg_pool2d(x, 3, 1).flatten(1), 1)), IMAGE
    ),
    "pools-in-rows-swept": along(lambda x: torch.softmax(F.avg_pool2d(x, 3, 1).flatten(1), 1), IMAGE, parameters=SWEPT),
    "pools-in-rows-split": along(lambda x: F.max_pool2d(x, 2, 1).square().mean(), IMAGE, parameters=SPLIT),
    "pools-over-channels": along(lambda x: F.max_pool2d(x, 3, 2, 1).logsumexp(1), IMAGE),
    "pools-bf16": along(lambda x: F.max_pool2d(x, 3, 2, 1), IMAGE, dtypes=(torch.bfloat16,), tolerance=1e-2),
}


if __name__ == "__main__":
    cases.CASES = CASES
    cases.report(sys.argv[1], Path(sys.argv[2]))
