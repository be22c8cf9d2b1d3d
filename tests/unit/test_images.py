"""Each image's locked packages are what its process needs, and hold none that it must not have.

No container engine is needed: an image's process is started where every package outside its lock is absent.
"""

import importlib.metadata
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# argv: distributions of the image and modules to import, each a comma-separated list.
IMPORT_WITH = """
import importlib, importlib.abc, importlib.metadata, re, sys, warnings

allowed, modules = (argument.split(",") for argument in sys.argv[1:])
providers = importlib.metadata.packages_distributions()

def is_absent(name):
    owners = {re.sub("[-_.]+", "-", owner).lower() for owner in providers.get(name.partition(".")[0], ())}
    return bool(owners) and not owners & {*allowed, "everforge"}

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if is_absent(name):
            raise ModuleNotFoundError(f"No module named {name!r} (not in the image)", name=name)

# What site imported before, such as hooks of editable packages, is no image's.
for name in [name for name in sys.modules if is_absent(name)]:
    del sys.modules[name]
sys.meta_path.insert(0, Absent())
warnings.simplefilter("ignore")
for module in modules:
    importlib.import_module(module)
"""


@dataclass(frozen=True)
class Image:
    """An image: its lock, what its process imports at once and later, and what must not be in it."""

    name: str
    locks: tuple[str, ...]
    room: str
    imports: tuple[str, ...]
    forbidden: frozenset[str]


NO_MODEL_OR_STORE = frozenset({"litellm", "mlflow", "mlflow-skinny", "optuna", "openai"})
NO_DEVICE = frozenset({"torch", "triton", "ninja"})
NO_CLUSTER = frozenset({"kopf", "kubernetes"})
NO_TERMINAL = frozenset({"pytest", "ruff", "typer", "rich"})
RUNNER_FREE = (
    NO_MODEL_OR_STORE | NO_CLUSTER | NO_TERMINAL | {"typer", "rich", "prometheus-client", "aiohttp", "requests"}
)
RUNNER = ("everforge.runners", ("everforge.runners.__main__", "torch", "triton"), RUNNER_FREE)
IMAGES = (
    Image(
        "agent",
        ("agent.txt",),
        "everforge.agents",
        ("everforge.agents.__main__", "everforge.telemetry.metrics", "litellm", "mlflow", "optuna"),
        NO_DEVICE | NO_CLUSTER | NO_TERMINAL,
    ),
    Image(
        "operator",
        ("operator.txt",),
        "everforge.operator",
        ("everforge.operator.__main__", "everforge.telemetry.metrics", "kopf", "kubernetes"),
        NO_DEVICE | NO_MODEL_OR_STORE | NO_TERMINAL,
    ),
    Image("runner-cpu", ("runner.txt", "torch.txt"), *RUNNER),
    Image("runner-cuda", ("runner.txt", "torch.txt"), *RUNNER),
)
images = pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)


def locked(image: Image) -> set[str]:
    """Distributions an image's requirements name."""
    text = "\n".join((ROOT / "requirements" / lock).read_text() for lock in image.locks)
    return {name.lower().replace("_", "-") for name in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)}


def containerfile(image: Image) -> str:
    return (ROOT / "images" / f"Containerfile.{image.name}").read_text()


@images
def test_process_of_an_image_finds_all_it_imports_in_its_lock(image: Image) -> None:
    arguments = [",".join(sorted(locked(image))), ",".join(image.imports)]
    child = subprocess.run(
        [sys.executable, "-c", IMPORT_WITH, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert child.returncode == 0, child.stderr


@images
def test_image_holds_no_package_it_must_not_have(image: Image) -> None:
    assert locked(image) & image.forbidden == set()


@images
def test_lock_of_an_image_says_what_the_development_lock_says(image: Image) -> None:
    tried = (ROOT / "requirements" / "dev.txt").read_text()
    for lock in image.locks:
        pins = re.findall(r"^\S+==\S+", (ROOT / "requirements" / lock).read_text(), re.MULTILINE)
        assert pins
        assert lock == "torch.txt" or [pin for pin in pins if pin not in tried] == []


@images
def test_image_runs_its_room_as_nobody_in_particular(image: Image) -> None:
    text = containerfile(image)
    final = text.rpartition("\nFROM ")[2]
    assert f'ENTRYPOINT ["python", "-m", "{image.room}"]' in final
    assert "\nUSER 65532:65532\n" in final
    assert all(f"requirements/{lock}" in text for lock in image.locks)


@images
def test_image_names_no_registry_and_no_index(image: Image) -> None:
    text = containerfile(image)
    assert "://" not in text
    bases = re.findall(r"^ARG \w+_IMAGE=(\S+)$", text, re.MULTILINE)
    assert len(bases) == 1
    # The first part of a name is a registry if it has a dot or a port.
    assert not re.search(r"[.:]", bases[0].rpartition("/")[0])


def test_image_without_a_package_it_imports_would_be_noticed() -> None:
    everything = {name.lower() for name in importlib.metadata.packages_distributions()["pydantic"]}
    child = subprocess.run(
        [sys.executable, "-c", IMPORT_WITH, ",".join(everything), "mlflow"], capture_output=True, text=True, check=False
    )
    assert "No module named 'mlflow' (not in the image)" in child.stderr
