"""The files of this machine's Debian packages: what `apt-get install` puts into an image, without an archive to ask.

`product_images.py` makes layers of them. Packages are taken with all they depend on, as apt takes them.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from local_image import Content

# What is read by people only, and by no program in a container.
UNREAD = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/share/info/", "/usr/share/lintian/")
# A merged /usr, as every Debian of today has it.
MERGED = ("bin", "sbin", "lib", "lib64")
_FORM = "${Package}\t${Provides}\t${Pre-Depends}, ${Depends}\n"


class NotDebian(Exception):
    """This machine's packages are not dpkg's, or one is missing; the message says which."""


def merged_root() -> Iterator[tuple[str, Content]]:
    """The links of a merged /usr, for the lowest layer."""
    for name in MERGED:
        yield name, f"usr/{name}"


def files_of(packages: Iterable[str]) -> dict[str, Content]:
    """The files of packages and of all they depend on, path inside to path here. Raises NotDebian."""
    found: dict[str, Content] = {}
    listed = _dpkg("-L", *sorted(with_dependencies(packages)))
    for path in listed.splitlines():
        if path.startswith(UNREAD) or not os.path.lexists(path) or (os.path.isdir(path) and not os.path.islink(path)):
            continue
        # /lib/… is /usr/lib/…, but a link to a file stays one.
        inside = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        if inside.lstrip("/") not in MERGED and not inside.startswith(("/proc/", "/dev/", "/sys/")):
            found[inside] = os.readlink(path) if os.path.islink(path) else Path(path)
    found.update(_alternatives(found))
    return found


def with_dependencies(packages: Iterable[str]) -> set[str]:
    """Names of packages and of all they depend on, as far as they are installed. Raises NotDebian."""
    needs, providers = _installed()
    found: set[str] = set()
    waiting = [*packages]
    if missing := [name for name in waiting if name not in needs]:
        raise NotDebian(f"packages are not installed: {', '.join(missing)} (apt-get install {' '.join(missing)})")
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [real for need in needs[name] for real in ([need] if need in needs else providers.get(need, []))]
    return found


def _installed() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """What each installed package needs, and who provides what."""
    needs: dict[str, list[str]] = {}
    providers: dict[str, list[str]] = {}
    for line in _dpkg("-W", f"--showformat={_FORM}").splitlines():
        name, provides, depends = line.split("\t")
        needs[name] = _names(depends)
        for virtual in _names(provides):
            providers.setdefault(virtual, []).append(name)
    return needs, providers


def _names(relations: str) -> list[str]:
    """Package names in a dependency field; of alternatives all, for only installed ones are followed."""
    return [
        found[0] for part in re.split(r"[,|]", relations) if (found := re.match(r"[a-z0-9][a-z0-9.+-]*", part.strip()))
    ]


def _alternatives(files: dict[str, Content]) -> Iterator[tuple[str, Content]]:
    """Links that packages' scripts make: /usr/bin/c++ → /etc/alternatives/c++ → /usr/bin/g++."""
    for link in Path("/etc/alternatives").glob("*"):
        target = os.path.realpath(link)
        if target in files and (public := Path("/usr/bin", link.name)).is_symlink():
            yield str(public), target


def _dpkg(*arguments: str) -> str:
    if shutil.which("dpkg-query") is None:
        raise NotDebian("images are made of Debian packages, and this machine has no dpkg-query")
    command: Sequence[str] = ["dpkg-query", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
