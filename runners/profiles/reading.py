"""Which tool wrote an export, and the profile in it. `everforge profile show` calls it; nothing here needs a device."""

from collections.abc import Callable
from pathlib import Path

from everforge.model.kernel_profile import Profile, ProfileTool
from everforge.runners.profiles.export_text import Export, read_export
from everforge.runners.profiles.nsight_compute import is_nsight_compute, read_nsight_compute
from everforge.runners.profiles.torch_trace import is_torch_trace, read_torch_trace
from everforge.runners.profiles.unitrace import is_unitrace, read_unitrace
from everforge.runners.profiles.vtune import is_vtune, read_vtune

Reader = Callable[[Export], Profile]

READERS: dict[ProfileTool, Reader] = {
    ProfileTool.NSIGHT_COMPUTE: read_nsight_compute,
    ProfileTool.TORCH_PROFILER: read_torch_trace,
    ProfileTool.UNITRACE: read_unitrace,
    ProfileTool.VTUNE: read_vtune,
}
# In this order: a program's own output around a table may hold a brace, but no tool's header.
_SIGNS: tuple[tuple[ProfileTool, Callable[[Export], bool]], ...] = (
    (ProfileTool.NSIGHT_COMPUTE, is_nsight_compute),
    (ProfileTool.UNITRACE, is_unitrace),
    (ProfileTool.VTUNE, is_vtune),
    (ProfileTool.TORCH_PROFILER, is_torch_trace),
)


def read_profile(path: Path, tool: ProfileTool | None = None) -> Profile:
    """The profile in a file; the tool is found out where it is not given. Raises UsageError."""
    return profile_of(read_export(path), tool)


def profile_of(export: Export, tool: ProfileTool | None = None) -> Profile:
    """The profile in an export. Raises UsageError where no tool's format is recognised, or the format is broken."""
    chosen = tool or next((sign for sign, fits in _SIGNS if fits(export)), None)
    names = ", ".join(READERS)
    if chosen is None:
        raise export.wrong(None, f"no export of {names}; docs/profiles.md says how each is made")
    if chosen not in READERS:
        raise export.wrong(None, f"{chosen} writes no exports; tools that do are {names}")
    return READERS[chosen](export)
