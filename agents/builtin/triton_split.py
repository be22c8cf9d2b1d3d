"""Few but long rows in Triton: each row cut into parts that programs of their own sweep side by side.

`triton_launch.py` calls it where there are too few rows to keep a GPU busy with one program each, a loss over all
elements being the extreme, or too few tiles of rows across memory. Every sweep is a kernel; what it folds goes to
memory as one number for each part (`partial_<value>`, rows × PARTS), and the kernels after it fold those again before
they start.
"""

from everforge.agents.builtin.plan import KernelRegion, Reduce, Scan, Store
from everforge.agents.builtin.triton_domain import Domain
from everforge.agents.builtin.triton_folds import Counts, RowFolds, element_stores
from everforge.agents.builtin.triton_rows import KernelText, indented
from everforge.agents.builtin.triton_strided import opening_lines, rows_domain
from everforge.agents.builtin.triton_values import TILE_MASKS, ValueTexts, needed, operands

_PART_COUNTS = Counts(
    "((width - tl.arange(0, BLOCK)[None, :] + BLOCK - 1) // BLOCK).to(tl.float32)", "tl.maximum(width, 1)"
)
_ALL_COUNTS = Counts(
    "tl.minimum(tl.maximum(COLUMNS - tl.arange(0, PARTS)[None, :].to(tl.int64) * SPAN, 0), SPAN).to(tl.float32)",
    "COLUMNS",
)


def can_split(region: KernelRegion) -> bool:
    """Whether the parts of a row can be swept apart: a running value would need the parts before it."""
    return not region.is_pointwise and not any(isinstance(value, Scan) for value in region.values)


def split_bodies(region: KernelRegion) -> dict[str, KernelText]:
    """Bodies by the last part of their kernels' names, in the order in which they run."""
    folds = RowFolds(region)
    bodies: dict[str, KernelText] = {}
    for sweep in range(folds.last_sweep() + 1):
        body = _part_body(folds, sweep)
        if body is not None:
            bodies[f"part_{sweep}"] = body
    if any(store.per_row for store in region.stores):
        bodies["finish"] = _finish_body(folds)
    return bodies


def partials(text: KernelText) -> tuple[str, ...]:
    """Names of the partial results a body reads or writes, in order of first mention."""
    words = " ".join(text.body).replace("(", " ").split()
    return tuple(dict.fromkeys(word.removesuffix("_ptr") for word in words if word.startswith("partial_")))


def _part_body(folds: RowFolds, sweep: int) -> KernelText | None:
    """The kernel of one sweep over a part of a row; None where nothing happens in it."""
    region = folds.region
    own = [number for number in folds.live if folds.is_fold(number) and folds.read_in(number) == sweep]
    stores = [store for store in element_stores(region) if folds.sweep[store.value] == sweep]
    if not own and not stores:
        return None
    targets = [store.value for store in stores] + [folds.operand_of(number) for number in own]
    texts, domain = _texts(region)
    outside, inside = _placed(folds, targets, texts)
    body = ["column = part * SPAN + start + tl.arange(0, BLOCK)[None, :]", "column_live = column < COLUMNS"]
    body += ["live = row_live & column_live", *inside]
    for number in own:
        body += folds.accumulate(number, texts)
    body += [texts.store(store) for store in stores]
    lines = [*_opening(domain), "part = tl.program_id(1).to(tl.int64)", *outside]
    if any(folds.has_moments(number) for number in own):
        lines.append("width = tl.minimum(tl.maximum(COLUMNS - part * SPAN, 0), SPAN)")
    lines += [line for number in own for line in folds.accumulators(number, "part * SPAN + ")]
    lines += ["for start in range(0, SPAN, BLOCK):", *indented(body)]
    for number in own:
        lines += [*folds.finish(number, texts, _PART_COUNTS), *_partial_stores(folds, texts, number)]
    return KernelText(lines, tuple(sorted(domain.sizes_used)), domain)


def _finish_body(folds: RowFolds) -> KernelText:
    """The kernel that turns the parts' results into what is stored once for each row."""
    stores: list[Store] = [store for store in folds.region.stores if store.per_row]
    texts, domain = _texts(folds.region)
    outside, _ = _placed(folds, [store.value for store in stores], texts)
    lines = [*_opening(domain), *outside, *(texts.store(store) for store in stores)]
    return KernelText(lines, tuple(sorted(domain.sizes_used)), domain)


def _texts(region: KernelRegion) -> tuple[ValueTexts, Domain]:
    domain = rows_domain(region)
    return ValueTexts(region, domain, TILE_MASKS), domain


def _opening(domain: Domain) -> list[str]:
    """The rows of a program, with the number under which partial results are kept."""
    return [*opening_lines(domain), *(["row = outer * INNER + inner"] if domain.inner_from is not None else [])]


def _placed(folds: RowFolds, targets: list[int], texts: ValueTexts) -> tuple[list[str], list[str]]:
    """Lines before the loop (earlier folds read back, values of the row) and inside it."""
    reduces = frozenset(n for n, value in enumerate(folds.region.values) if isinstance(value, Reduce))
    values = needed(folds.region, targets, reduces)
    read_back = {n for number in values for n in operands(folds.region, number) if n in reduces}
    read_back |= {target for target in targets if target in reduces}
    read_back |= {folds.online[number] for number in read_back if number in folds.online}
    outside: list[str] = []
    inside: list[str] = []
    for number in sorted({*values, *read_back}):
        if number in read_back:
            outside += _read_back(folds, number, texts)
        elif line := texts.line(number):
            (inside if folds.varies[number] else outside).append(line)
    return outside, inside


def _read_back(folds: RowFolds, number: int, texts: ValueTexts) -> list[str]:
    """A fold of an earlier kernel, from its parts."""
    place = "row * PARTS + tl.arange(0, PARTS)[None, :], mask=row_live, other=0"
    lines = [f"folded_{number} = tl.load(partial_{number}_ptr + {place})"]
    if folds.is_position(number):
        lines.append(f"place_{number} = tl.load(partial_{number}_place_ptr + {place})")
    return [*lines, *folds.finish(number, texts, _ALL_COUNTS)]


def _partial_stores(folds: RowFolds, texts: ValueTexts, number: int) -> list[str]:
    """Stores of what a part of a row folds to: of a position also the extremum, of a sum with moments the mean."""
    place, result = "row * PARTS + part", texts.operand(number)
    if folds.is_position(number):
        extremum = "_row_max" if folds.op_of(number) == "argmax" else "_row_min"
        return [
            f"tl.store(partial_{number}_ptr + {place}, {extremum}(folded_{number}), mask=row_live)",
            f"tl.store(partial_{number}_place_ptr + {place}, {result}, mask=row_live)",
        ]
    if folds.has_moments(number):
        result = f"{result} / {_PART_COUNTS.total}"
    return [f"tl.store(partial_{number}_ptr + {place}, {result}, mask=row_live)"]
