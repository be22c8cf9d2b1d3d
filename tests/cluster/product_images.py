"""The product's images, made of what is installed on this machine: operator, agent, runner for CPUs, and an MLflow.

What goes into each is read from its Containerfile: the locked requirements, the Debian packages, and how its container
starts. So a campaign on the test node proves that those suffice, although nothing here can build a Containerfile.
`installed_product.py` gives them to a node.
"""

import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path
from typing import Any

from debian_packages import files_of, merged_root
from hollow_library import write_hollow
from local_image import Content, Image, Layer, write_layer

ROOT = Path(__file__).parents[2]
HOME = "/opt/everforge"
SITE = f"{HOME}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
# What the interpreter's own modules are linked with; of an image called python, the rest is not needed.
PYTHON_NEEDS = (
    *("libc6", "dash", "coreutils", "libstdc++6", "libssl3", "libffi8", "zlib1g", "libbz2-1.0", "liblzma5"),
    *("libsqlite3-0", "libreadline8", "libncursesw6", "libuuid1", "libexpat1"),
)
NOT_OF_STDLIB = ("site-packages", "dist-packages", "test", "idlelib", "ensurepip", "tkinter", "turtledemo")
# Smaller ones of an accelerator's libraries stay as they are: all the others are 2.5 GB.
WORTH_HOLLOWING_BYTES = 8 << 20
# Assemblers and profilers for GPUs: nobody asks for them on a CPU.
FOR_GPUS = ("triton/backends/nvidia/bin/", "triton/backends/nvidia/lib/cupti/")


@dataclass(frozen=True)
class Recipe:
    """What a Containerfile says."""

    requirements: tuple[str, ...]
    packages: tuple[str, ...]
    config: dict[str, Any]


def recipe_of(containerfile: Path) -> Recipe:
    """Requirement files of any stage, Debian packages and settings of the last one."""
    text = re.sub(r"\\\n", " ", containerfile.read_text())
    last = text.rpartition("\nFROM ")[2]
    installed = re.search(r"apt-get install ([^&\n]*)", last)
    settings = dict(re.findall(r"^(ENV|USER|WORKDIR|ENTRYPOINT) (.*)$", last, re.MULTILINE))
    environment = settings["ENV"].replace("$PATH", "/usr/local/bin:/usr/bin:/bin")
    return Recipe(
        tuple(name for name in re.findall(r"-r requirements/(\S+)", text) if name != "build.txt"),
        tuple(word for word in (installed[1] if installed else "").split() if not word.startswith("-")),
        {
            "Env": environment.split(),
            "User": settings["USER"],
            "WorkingDir": settings["WORKDIR"],
            "Entrypoint": re.findall(r'"([^"]+)"', settings["ENTRYPOINT"]),
        },
    )


class ProductImages:
    """The images, with their layers below a directory. Raises NotDebian where this machine cannot make them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._layers: dict[str, Layer] = {}

    def made(self) -> Iterator[list[Image]]:
        """Operator, agent with mlflow, and runner-cpu, one after the other, each called `everforge.local/NAME:e2e`."""
        yield [self._image("operator")]
        agent = self._image("agent")
        # The agent's lock has the whole of MLflow, its server included.
        server = dict(agent.config) | {"Entrypoint": ["python", "-m", "mlflow", "server"]}
        yield [agent, Image("everforge.local/mlflow:e2e", agent.layers, server)]
        yield [self._image("runner-cpu")]

    def _image(self, name: str) -> Image:
        recipe = recipe_of(ROOT / "images" / f"Containerfile.{name}")
        layers = [self._layer("python", python_files())]
        if recipe.packages:
            base = files_of(PYTHON_NEEDS)
            added = {inside: file for inside, file in files_of(recipe.packages).items() if inside not in base}
            layers.append(self._layer(" ".join(recipe.packages), added.items()))
        layers.append(self._layer(" ".join(recipe.requirements), self._required(recipe)))
        layers.append(self._layer("everforge", product_files()))
        return Image(f"everforge.local/{name}:e2e", layers, recipe.config)

    def _layer(self, key: str, contents: Any) -> Layer:
        if key not in self._layers:
            self._layers[key] = write_layer(self._directory / f"{len(self._layers)}.layer", contents)
        return self._layers[key]

    def _required(self, recipe: Recipe) -> Iterator[tuple[str, Content]]:
        names = [name for file in recipe.requirements for name in required_names(ROOT / "requirements" / file)]
        for name in sorted(set(names)):
            yield from distribution_files(distribution(name))
        if "torch" in names:
            yield from self._hollow_files()

    def _hollow_files(self) -> Iterator[tuple[str, Content]]:
        """In place of what a torch for CUDA is linked with; nothing where torch is the build for CPUs."""
        for package in distributions():
            if package.metadata["Name"].startswith("nvidia-"):
                for file in package.files or ():
                    here = Path(str(file.locate()))
                    if ".so" in file.name and here.stat().st_size > WORTH_HOLLOWING_BYTES:
                        here = write_hollow(self._directory / "hollow" / file, here)
                    if ".so" in file.name:
                        yield f"{SITE}/{file}", here


def python_files() -> Iterator[tuple[str, Content]]:
    """The interpreter where it is on this machine, what it is linked with, and an environment at /opt/everforge."""
    yield from merged_root()
    yield from files_of(PYTHON_NEEDS).items()
    program = Path(sys.executable).resolve()
    yield str(program), program
    for library in (program.parents[1] / "lib").glob("libpython*.so*"):
        yield str(library), library.resolve()
    stdlib, headers = Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("include"))
    for directory in (stdlib, headers):
        for file in sorted(directory.rglob("*")):
            part = file.relative_to(directory).parts[0]
            if file.is_file() and part not in NOT_OF_STDLIB and not part.startswith("config-"):
                yield str(file), file
    for name in ("python", "python3"):
        yield f"{HOME}/bin/{name}", str(program)
    yield f"{HOME}/pyvenv.cfg", Path(sys.prefix, "pyvenv.cfg")


def product_files() -> Iterator[tuple[str, Content]]:
    """This checkout's package, with the rooms that are links in it, as a wheel has them."""
    package = ROOT / "src" / "everforge"
    rooms = [package, *(link for link in package.iterdir() if link.is_symlink())]
    for room in rooms:
        for file in sorted(room.resolve().rglob("*")):
            if file.is_file() and file.suffix in (".py", ".md", ".toml", ".typed"):
                yield f"{SITE}/{(room / file.relative_to(room.resolve())).relative_to(package.parent)}", file
    yield from (
        (inside, file) for inside, file in distribution_files(distribution("everforge")) if "dist-info" in inside
    )


def required_names(requirements: Path) -> Iterator[str]:
    """Names of a requirements file that are installed here; those for other systems are not."""
    for line in requirements.read_text().splitlines():
        if found := re.match(r"([A-Za-z0-9][A-Za-z0-9._-]*)==", line):
            try:
                distribution(found[1])
            except PackageNotFoundError:
                if ";" in line:  # for another system, or another Python
                    continue
                raise
            yield found[1]


def distribution_files(package: Distribution) -> Iterator[tuple[str, Content]]:
    """The files of an installed package; of its scripts only programs, for the others name this machine's Python."""
    for file in package.files or ():
        here, inside = Path(str(file.locate())), str(file)
        if not here.is_file() or inside.startswith(FOR_GPUS):
            continue
        if not inside.startswith("../"):
            yield f"{SITE}/{inside}", here
        elif here.parent.name == "bin" and here.read_bytes()[:2] != b"#!":
            yield f"{HOME}/bin/{here.name}", here
