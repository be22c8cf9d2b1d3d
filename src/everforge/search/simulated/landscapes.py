"""The known landscapes: each asks one question of a policy.

The factors are made up, in the proportions that kernels show; what is compared is how policies deal with them, not
how fast any kernel is. The constants of the policies were chosen on the four by hand; drawn ones are there to see
whether that holds elsewhere. Lines of code are chosen for what `search/behaviour.py` reads from them.
"""

import random

from everforge.search.simulated.landscape import Idea, Landscape

_VECTOR = "offsets = part * 1024 + tl.arange(0, 1024)"
_TILED = "tile_a[row] = tl.load(x, mask=row < size)"
_DESCRIPTOR = "block = tl.make_tensor_descriptor(x, shape, strides, part)"
_PERSISTENT = "step = tl.num_programs(0)"
_GRID = "column = tl.program_id(1)"
_SPLIT = "tl.atomic_add(y, partial)"

SMOOTH = Landscape(
    name="smooth",
    about="every idea helps by itself, and most code works",
    ideas=(
        Idea(name="vector loads", gain=1.3, appeal=3, chance=0.9, code=_VECTOR),
        Idea(name="fuse the tail", gain=1.25, appeal=2, chance=0.85),
        Idea(name="two-dimensional grid", gain=1.15, chance=0.85, code=_GRID),
        Idea(name="fewer passes", gain=1.3, chance=0.8),
        Idea(name="unroll", gain=1.1, appeal=2, chance=0.9),
        Idea(name="more warps", gain=1.1, appeal=2, chance=0.95),
        Idea(name="cache hints", gain=1.05, chance=0.95),
        Idea(name="fast exponential", gain=1.1, chance=0.8),
    ),
)

LOCAL_OPTIMUM = Landscape(
    name="local optimum",
    about="a good way ends early; the better one begins slower and excludes it",
    ideas=(
        Idea(name="vector loads", gain=1.5, appeal=4, chance=0.9, code=_VECTOR),
        Idea(name="unroll", gain=1.25, appeal=3, needs=frozenset({"vector loads"})),
        Idea(name="more warps", gain=1.15, appeal=3, chance=0.95),
        Idea(name="cache hints", gain=1.05, appeal=2, chance=0.95),
        Idea(name="tiles", gain=0.8, chance=0.7, code=_TILED, clashes=frozenset({"vector loads", "unroll"})),
        Idea(name="descriptors", gain=1.6, chance=0.6, needs=frozenset({"tiles"}), code=_DESCRIPTOR),
        Idea(name="persistent", gain=1.2, chance=0.6, boosted={"descriptors": 1.7}, code=_PERSISTENT),
        Idea(name="pipeline", gain=1.3, chance=0.6, needs=frozenset({"descriptors"})),
    ),
)

DECEPTIVE = Landscape(
    name="deceptive",
    about="what a model thinks of first helps at once and stands in the way of what helps more",
    ideas=(
        Idea(name="vector loads", gain=1.4, appeal=5, chance=0.95, code=_VECTOR),
        Idea(name="one row a program", gain=1.3, appeal=5, chance=0.95),
        Idea(name="scalar epilogue", gain=1.2, appeal=4, chance=0.95),
        Idea(
            name="split the reduction",
            gain=0.9,
            appeal=0.7,
            clashes=frozenset({"one row a program"}),
            boosted={"two-stage sum": 1.8},
            code=_SPLIT,
        ),
        Idea(name="two-stage sum", gain=1.1, appeal=0.7, needs=frozenset({"split the reduction"})),
        Idea(name="tiles", gain=0.9, appeal=0.7, clashes=frozenset({"vector loads"}), code=_TILED),
        Idea(
            name="tensor cores",
            gain=2.2,
            appeal=0.7,
            chance=0.6,
            needs=frozenset({"tiles"}),
            clashes=frozenset({"scalar epilogue"}),
        ),
        Idea(name="swizzle", gain=1.2, appeal=0.7, needs=frozenset({"tiles"})),
    ),
)

FRAGILE = Landscape(
    name="fragile",
    about="the good ideas mostly come out broken, and repairs often fail; small ones always work",
    ideas=(
        Idea(name="vector loads", gain=1.15, appeal=3, chance=0.95, code=_VECTOR),
        Idea(name="unroll", gain=1.08, appeal=3, chance=0.95),
        Idea(name="more warps", gain=1.06, appeal=3, chance=0.95),
        Idea(name="cache hints", gain=1.04, appeal=2, chance=0.95),
        Idea(name="online reduction", gain=1.9, chance=0.2, mended=0.2),
        Idea(name="descriptors", gain=1.6, chance=0.15, mended=0.2, code=_DESCRIPTOR),
        Idea(name="persistent", gain=1.4, chance=0.2, mended=0.2, code=_PERSISTENT),
        Idea(name="split the reduction", gain=1.3, chance=0.2, mended=0.2, code=_SPLIT),
    ),
)

DRAWN = "drawn"
_DRAWN_IDEAS = 10
_CODES = ("", _VECTOR, _TILED, _DESCRIPTOR, _PERSISTENT, _GRID, _SPLIT)


def drawn_landscape(seed: int) -> Landscape:
    """A landscape nobody made: ideas whose gain has nothing to do with their appeal, some tied to others."""
    rng = random.Random(seed)
    ideas: list[Idea] = []
    for number in range(_DRAWN_IDEAS):
        ideas.append(_drawn_idea(f"idea {number}", [idea.name for idea in ideas], rng))
    return Landscape(name=DRAWN, about="ideas drawn at random, others in every repeat", ideas=tuple(ideas))


def _drawn_idea(name: str, earlier: list[str], rng: random.Random) -> Idea:
    """Two ideas of three gain, most by up to 1.4 times; a third each need, boost or exclude an earlier one."""
    tied = {
        kind: [rng.choice(earlier)] if earlier and rng.random() < 1 / 3 else []
        for kind in ("needs", "clashes", "boosted")
    }
    needs = frozenset(tied["needs"])
    return Idea(
        name=name,
        gain=rng.lognormvariate(0.09, 0.2),
        appeal=rng.lognormvariate(0.0, 0.8),
        chance=rng.uniform(0.2, 0.95),
        mended=rng.uniform(0.1, 0.6),
        needs=needs,
        clashes=frozenset(tied["clashes"]) - needs,
        boosted={other: rng.uniform(1.1, 1.6) for other in tied["boosted"]},
        code=rng.choice(_CODES),
    )


LANDSCAPES = {landscape.name: landscape for landscape in (SMOOTH, LOCAL_OPTIMUM, DECEPTIVE, FRAGILE)}
NAMES = (*LANDSCAPES, DRAWN)


def landscape_of(name: str, repeat: int) -> Landscape:
    """The landscape of one repeat: a known one is the same in all, a drawn one is drawn for each."""
    return drawn_landscape(repeat) if name == DRAWN else LANDSCAPES[name]
