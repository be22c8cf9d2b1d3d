"""Shared libraries with every name and nothing behind it, in place of an accelerator's own in an image for CPUs.

A machine whose torch was built for CUDA has no other torch, and that one does not load without three gigabytes of
libraries that nobody calls where there is no GPU. `product_images.py` puts hollow ones in their place. Calling one is
an illegal instruction.
"""

import re
import subprocess
from pathlib import Path

_ASSEMBLY_NAME = re.compile(r"[A-Za-z_.][A-Za-z0-9_.$]*")


def write_hollow(path: Path, original: Path) -> Path:
    """Write a library with the names and versions that `original` exports. Needs nm, as and gcc."""
    path.parent.mkdir(parents=True, exist_ok=True)
    versions = _exported(original)
    names = sorted({name for group in versions.values() for name in group})
    source, script = path.with_suffix(".s"), path.with_suffix(".map")
    source.write_text("\n".join([".text", *(f".globl {name}\n{name}:" for name in names), "ud2", _NO_STACK, ""]))
    script.write_text("".join(_version(version, versions[version]) for version in sorted(versions) if version))
    versioned = [f"-Wl,--version-script={script}"] if any(versions) else []
    command = ["gcc", "-shared", "-nostdlib", str(source), f"-Wl,-soname,{original.name}", *versioned, "-o", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    source.unlink()
    script.unlink()
    return path


_NO_STACK = '.section .note.GNU-stack,"",@progbits'


def _version(version: str, names: set[str]) -> str:
    return f"{version} {{ global: {'; '.join(sorted(names))}; }};\n"


def _exported(library: Path) -> dict[str, set[str]]:
    """Version to the names of that version; the version of those without one is empty."""
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", "--format=posix", str(library)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, set[str]] = {}
    for line in listed.stdout.splitlines():
        listed_name, kind = line.split()[:2]
        name, _, version = listed_name.partition("@")
        version = version.removeprefix("@")
        # A version is listed as a name, too: an absolute one.
        if kind != "A" and _ASSEMBLY_NAME.fullmatch(name):
            found.setdefault(version, set()).add(name)
    return found
