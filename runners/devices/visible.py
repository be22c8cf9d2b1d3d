"""Which device of its kind a runner and its children use: the first of those their environment shows them.

A runner told to use another device (`--device-index N`) shows itself that one alone, before any library looks.
`__main__.py` does so at its start; `nursery.py` passes the variables on to workers.

Sources: "CUDA Environment Variables" in NVIDIA's CUDA C++ Programming Guide; "Affinity Mask" in the Level Zero
specification. Each element of ZE_AFFINITY_MASK is a device in the flat hierarchy, which is the driver's default.
"""

from collections.abc import Mapping

_VISIBLE = ("CUDA_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
# Numbers no device has: a machine may have two NVIDIA GPUs and one of Intel's, and index 1 then names only one of them.
_NONE = {"CUDA_VISIBLE_DEVICES": "-1", "ZE_AFFINITY_MASK": "99"}


def only_device(environment: Mapping[str, str], index: int) -> dict[str, str]:
    """The variables that show the device `index` of each kind alone, counted from 0 among those shown now.

    Where a list is set already and has no such element, no device of that kind is shown, and using one fails.
    """
    return {name: _element(name, environment.get(name), index) for name in _VISIBLE}


def _element(name: str, shown: str | None, index: int) -> str:
    if shown is None:
        return str(index)
    elements = [element.strip() for element in shown.split(",") if element.strip()]
    return elements[index] if index < len(elements) else _NONE[name]
