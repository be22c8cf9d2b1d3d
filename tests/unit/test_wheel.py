"""The wheel holds every file of every room, code and data: images install it, not the checkout."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("src", "agents", "runners", "operator", "knowledge")


def shipped_files() -> set[str]:
    """Tracked files of the package and its rooms, as paths inside the package."""
    command = ["git", "ls-files", "-z", "src/everforge", *SOURCES[1:]]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [name for name in listing.split("\0") if name and (ROOT / name).is_file()]
    return {"everforge/" + path.removeprefix("src/everforge/") for path in paths}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names in a wheel that is built from a copy of the tree, without any download."""
    place = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place)
    for name in SOURCES:
        ignored = shutil.ignore_patterns("*.egg-info", "__pycache__")
        shutil.copytree(ROOT / name, place / name, symlinks=True, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    built = subprocess.run([*pip, "-w", "dist", "."], cwd=place, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (archive,) = (place / "dist").glob("*.whl")
    return set(zipfile.ZipFile(archive).namelist())


def test_wheel_holds_every_tracked_file_of_every_room(wheel: set[str]) -> None:
    assert len(shipped_files()) > 50
    assert shipped_files() - wheel == set()


def test_wheel_installs_nothing_beside_the_package(wheel: set[str]) -> None:
    roots = {name.split("/")[0] for name in wheel}
    assert [root for root in roots if not root.endswith(".dist-info")] == ["everforge"]
