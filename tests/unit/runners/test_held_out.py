"""Held-out shapes: smaller than what is shown, odd where the task bears it, drawn anew, and never the user's own."""

import random
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everforge.model.device import DeviceKind
from everforge.model.task import TaskSpec, Variant
from everforge.runners.devices import device_of
from everforge.runners.facts.held_out import Derived, derived_variants
from everforge.runners.facts.size_constants import integer_constants, smaller_values
from everforge.runners.tensors.trees import leaves
from everforge.runners.truth.reference import ReferenceBuilder

ROOT = Path(__file__).resolve().parents[3]
CPU = device_of(DeviceKind.CPU)
MAIN = Variant(name="main")


def task_of(source: str, *variants: Variant, derive: bool = True) -> TaskSpec:
    return TaskSpec(name="task.py", source=source, variants=variants or (MAIN,), derive_held_out=derive)


def derived(task: TaskSpec, seed: int = 0) -> Derived:
    return derived_variants(task, CPU, random.Random(seed))


def shapes(task: TaskSpec, variant: Variant) -> list[tuple[int, ...]]:
    builder = ReferenceBuilder(task, variant, CPU)
    inputs = builder.inputs()
    builder.run(builder.model, inputs)
    return [tuple(leaf.shape) for leaf in leaves(inputs)]


def source_of(constants: str, model: str, inputs: str, init: str = "") -> str:
    return f"""\
import torch
from torch import nn
from torch.nn import functional as F
{constants}
class Model(nn.Module):
{model}
def get_inputs():
    return [{inputs}]
def get_init_inputs():
    return [{init}]
"""


CONV = source_of(
    "batch_size = 6\nin_channels = 16\nout_channels = 24\ngroups = 4\nheight = 40\nwidth = 32\nkernel_size = 3\n",
    "    def __init__(self, i, o, k, g):\n        super().__init__()\n"
    "        self.conv = nn.Conv2d(i, o, k, groups=g)\n"
    "    def forward(self, x):\n        return self.conv(x)",
    "torch.randn(batch_size, in_channels, height, width)",
    "in_channels, out_channels, kernel_size, groups",
)
GROUP_NORM = source_of(
    "batch_size = 8\nfeatures = 64\nnum_groups = 8\ndim1 = 20\n",
    "    def __init__(self, f, g):\n        super().__init__()\n        self.norm = nn.GroupNorm(g, f)\n"
    "    def forward(self, x):\n        return self.norm(x)",
    "torch.randn(batch_size, features, dim1)",
    "features, num_groups",
)
ATTENTION = source_of(
    "batch_size = 4\nseq_len = 48\nembed_dim = 96\nnum_heads = 12\n",
    "    def __init__(self, e, h):\n        super().__init__()\n"
    "        self.h = h\n        self.qkv = nn.Linear(e, 3 * e)\n"
    "    def forward(self, x):\n        b, s, e = x.shape\n"
    "        q, k, v = self.qkv(x).view(b, s, 3, self.h, e // self.h).permute(2, 0, 3, 1, 4)\n"
    "        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, s, e)",
    "torch.randn(batch_size, seq_len, embed_dim)",
    "embed_dim, num_heads",
)
EMBEDDING = source_of(
    "batch_size = 16\nseq_len = 24\nvocab = 100\nwidth = 32\n",
    "    def __init__(self, v, w):\n        super().__init__()\n        self.table = nn.Embedding(v, w)\n"
    "    def forward(self, x):\n        return self.table(x).sum(1)",
    "torch.randint(0, vocab, (batch_size, seq_len))",
    "vocab, width",
)
PRODUCT = source_of(
    "M = 64 * 2\nK = 96\nN = 80\n",
    "    def forward(self, a, b):\n        return a @ b",
    "torch.randn(M, K), torch.randn(K, N)",
)
# Rows of the one input meet columns of the other: neither size moves alone.
COUPLED = source_of(
    "rows = 48\ncolumns = 48\n",
    "    def forward(self, a, b):\n        return a @ b",
    "torch.randn(rows, 8), torch.randn(8, columns).T.contiguous().view(8, rows)",
)
VALUES = source_of(
    "batch_size = 12\nwidth = 30\n",
    "    def forward(self, x):\n        return x * 2 if x.sum() > 0 else x + 1",
    "torch.rand(batch_size, width)",
)
FIXED = source_of("", "    def forward(self, x):\n        return x + 1", "torch.randn(3, 4)")
STRUCTURES = {
    "grouped convolution": CONV,
    "group norm": GROUP_NORM,
    "attention": ATTENTION,
    "embedding": EMBEDDING,
    "product": PRODUCT,
    "coupled sizes": COUPLED,
    "branch on a value": VALUES,
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_derived_shapes_run_and_are_smaller_and_new(name: str) -> None:
    task = task_of(STRUCTURES[name])
    plain, seen = shapes(task, MAIN), [shapes(task, MAIN)]
    found = derived(task).variants
    assert found
    for variant in found:
        made = shapes(task, variant)
        assert variant.held_out
        assert made not in seen
        assert all(x <= y for a, b in zip(made, plain, strict=True) for x, y in zip(a, b, strict=True))
        seen.append(made)


@pytest.mark.parametrize("name", [name for name in STRUCTURES if name != "coupled sizes"])
def test_the_second_shape_changes_the_leading_size_alone(name: str) -> None:
    task = task_of(STRUCTURES[name])
    first, second = (shapes(task, variant)[0] for variant in derived(task).variants)
    plain = shapes(task, MAIN)[0]
    assert first[1:] != plain[1:]
    assert second[0] != plain[0]
    assert second[1:] == plain[1:]


def test_sizes_are_odd_where_the_reference_bears_it() -> None:
    (a, b) = shapes(task_of(PRODUCT), derived(task_of(PRODUCT)).variants[0])
    assert all(size % 2 for size in (*a, *b))


def test_divisors_of_the_task_are_kept() -> None:
    (x,) = shapes(task_of(ATTENTION), derived(task_of(ATTENTION)).variants[0])
    assert x[2] % 12 == 0
    assert (x[0] % 2, x[1] % 2) == (1, 1)


def test_constants_that_are_no_input_size_stay() -> None:
    for variant in derived(task_of(CONV)).variants:
        assert not {"out_channels", "groups", "kernel_size"} & set(variant.constants)


EXAMPLES = [path for path in ROOT.glob("examples/**/*.py") if path.parent.name != "candidates"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_has_derived_shapes(path: Path) -> None:
    found = derived(task_of(path.read_text(encoding="utf-8")))
    assert [variant.name for variant in found.variants] == ["held-out-1", "held-out-2"]
    assert found.note is None


def test_sizes_differ_from_session_to_session_but_not_for_one_seed() -> None:
    task = task_of(PRODUCT)
    assert derived(task, 1) == derived(task, 1)
    assert len({str(derived(task, seed).variants[0].constants) for seed in range(8)}) >= 4


def test_the_largest_shown_variant_is_the_measure() -> None:
    small, large = (Variant(name=name, constants={"M": m}) for name, m in (("small", 4), ("large", 512)))
    (a, _) = shapes(task_of(PRODUCT), derived(task_of(PRODUCT, small, large)).variants[0])
    assert 128 < a[0] < 512


def test_declared_shapes_are_not_derived_again() -> None:
    source = PRODUCT.replace("64 * 2", "5").replace("96", "5").replace("80", "1")
    declared = tuple(
        Variant(name=f"declared-{m}-{k}", constants={"M": m, "K": k}, held_out=True) for m in (3, 5) for k in (3, 4)
    )
    task = task_of(source, MAIN, *declared)
    known = [shapes(task, variant) for variant in task.variants]
    for seed in range(5):
        found = derived(task, seed).variants
        assert found
        assert all(shapes(task, variant) not in known for variant in found)


def test_names_of_declared_variants_are_not_taken() -> None:
    task = task_of(PRODUCT, MAIN, Variant(name="held-out-1", constants={"M": 1}, held_out=True))
    assert [variant.name for variant in derived(task).variants] == ["held-out-2", "held-out-3"]


@pytest.mark.parametrize(
    ("source", "note"),
    [
        pytest.param(FIXED, "no module-level integer constants", id="no constants"),
        pytest.param("rows = 3\n" + FIXED, "no smaller rows gives other inputs", id="no sizes"),
        pytest.param(PRODUCT.replace("a @ b", "a.nothing"), "no shown variant runs", id="broken"),
    ],
)
def test_a_task_without_sizes_says_why_nothing_was_derived(source: str, note: str) -> None:
    found = derived(task_of(source))
    assert found.variants == ()
    assert found.note is not None
    assert found.note.startswith("no held-out shape could be derived: ")
    assert note in found.note


def test_nothing_is_derived_for_a_task_that_does_not_want_it() -> None:
    assert derived(task_of(PRODUCT, derive=False)) == Derived(())


def test_values_that_do_not_run_leave_no_trace_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    halves = source_of(
        "batch_size = 8\nwidth = 40\n",
        "    def forward(self, x):\n        a, b = x.chunk(2, 1)\n        return a * b",
        "torch.rand(batch_size, width)",
    )
    (x,) = shapes(task_of(halves), derived(task_of(halves)).variants[0])
    assert x[1] % 2 == 0
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_modules_of_a_sessions_own_variants_stay_in_force() -> None:
    builder = ReferenceBuilder(task_of(PRODUCT), MAIN, CPU)
    module = sys.modules[type(builder.model).__module__]
    before = {name for name in sys.modules if name.startswith("everforge_task_")}
    derived(task_of(PRODUCT))
    assert sys.modules[module.__name__] is module
    assert {name for name in sys.modules if name.startswith("everforge_task_")} == before


def test_constants_are_literals_and_what_overrides_them() -> None:
    source = "a = 4\nb = 16 * 1024\nc = a * 2\nd = 0.5\ne = True\nf: int = 7 + 1\ng = h = 3\n"
    assert integer_constants(source, {}) == {"a": 4, "b": 16384, "f": 8}
    assert integer_constants(source, {"a": 2, "c": 6, "d": 1.5}) == {"a": 2, "b": 16384, "c": 6, "f": 8}


@given(st.integers(2, 1 << 20), st.integers(0, 99))
def test_smaller_values_are_smaller_and_begin_with_an_odd_prime(value: int, seed: int) -> None:
    found = list(smaller_values(value, {}, random.Random(seed)))
    assert found
    assert len(set(found)) == len(found)
    assert all(0 < smaller < value for smaller in found)
    if value > 3:
        assert found[0] % 2 == 1
        assert all(found[0] % divisor for divisor in range(3, int(found[0] ** 0.5) + 1))


def test_values_keep_the_divisors_the_task_may_need() -> None:
    found = list(smaller_values(768, {"heads": 12}, random.Random(0)))
    assert any(value % 12 == 0 for value in found)
    assert any(value % 128 == 0 for value in found)
