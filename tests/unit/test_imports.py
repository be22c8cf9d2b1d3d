"""Rooms import without each other's dependencies, and the lint that keeps it so sees a violation.

A lint reads import statements; these tests run them, so an import inside a function that a module calls while
it is imported, or one through a third package, counts too.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# argv: blocked libraries and rooms to import, each a comma-separated list. Prints what failed, one a line.
IMPORT_ROOMS_WITHOUT = """
import importlib, importlib.abc, pkgutil, sys, warnings

blocked, rooms = (set(filter(None, argument.split(","))) for argument in sys.argv[1:])

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked or name in blocked:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked by the test)", name=name)

sys.meta_path.insert(0, Absent())
warnings.filterwarnings("ignore", message="Failed to initialize NumPy")  # torch, without numpy
for room in sorted(rooms):
    path = getattr(importlib.import_module(room), "__path__", ())
    for module in pkgutil.walk_packages(path, room + "."):
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            print(f"{module.name}: {error}")
print("imported", len([name for name in sys.modules if name.startswith("everforge.")]))
"""

RUNNER_FREE = {
    "litellm",
    "mlflow",
    "optuna",
    "typer",
    "rich",
    "yaml",
    "prometheus_client",
    "numpy",
    "kopf",
    "kubernetes",
}
DEVICE_FREE = {"torch", "triton"}
OPERATOR_FREE = {"litellm", "mlflow", "optuna", "typer", "rich", "numpy"}
AGENT_SIDE = {"everforge.agents", "everforge.search", "everforge.store", "everforge.model", "everforge.cli"}


def failures_of_importing(rooms: set[str], *, without: set[str]) -> list[str]:
    """Which modules of the rooms do not import where some libraries are absent."""
    arguments = [",".join(sorted(without)), ",".join(sorted(rooms))]
    child = subprocess.run(
        [sys.executable, "-c", IMPORT_ROOMS_WITHOUT, *arguments], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    *failures, summary = child.stdout.splitlines()
    assert int(summary.removeprefix("imported ")) >= len(rooms)
    return failures


def test_runners_import_with_torch_triton_and_pydantic_alone() -> None:
    assert not failures_of_importing({"everforge.runners"}, without=RUNNER_FREE)


def test_runners_and_agents_import_without_each_other() -> None:
    assert not failures_of_importing({"everforge.runners"}, without={"everforge.agents"})
    assert not failures_of_importing({"everforge.agents"}, without={"everforge.runners"})


def test_operator_imports_without_the_others_and_their_dependencies() -> None:
    others = {"everforge.agents", "everforge.runners", "everforge.search", "everforge.store"}
    assert not failures_of_importing({"everforge.operator"}, without=OPERATOR_FREE | DEVICE_FREE | others)


def test_everything_but_runners_imports_without_torch() -> None:
    assert not failures_of_importing(AGENT_SIDE, without=DEVICE_FREE)


def test_model_imports_with_pydantic_alone() -> None:
    rooms = {"everforge.model", "everforge.errors", "everforge.clock"}
    assert not failures_of_importing(rooms, without=RUNNER_FREE | DEVICE_FREE | AGENT_SIDE - {"everforge.model"})


def test_blocked_library_is_really_absent() -> None:
    assert failures_of_importing({"everforge.runners"}, without={"torch"})


def test_command_line_starts_without_the_heavy_libraries() -> None:
    # `everforge --help` answers at once: torch, mlflow, litellm and optuna take a second each to import.
    heavy = "import everforge.cli.app, sys; print(*{'torch', 'mlflow', 'litellm', 'optuna'} & set(sys.modules))"
    child = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert child.stdout.split() == []


PLANTED = {
    "runners/planted.py": (
        "import everforge.agents",
        "rooms: one direction, agents and runners blind to each other",
    ),
    "operator/planted.py": ("import everforge.agents", "rooms: one direction, agents and runners blind to each other"),
    "operator/planted_twin.py": ("import torch", "torch and triton live in runners alone"),
    "operator/planted_third.py": (
        "import mlflow",
        "the operator needs kopf, kubernetes, prometheus_client and pydantic alone",
    ),
    "agents/planted.py": ("import torch", "torch and triton live in runners alone"),
    "runners/planted_twin.py": ("import numpy", "the runner's core needs torch, triton and pydantic alone"),
    "src/everforge/model/planted.py": ("import yaml", "the model imports pydantic alone"),
    "src/everforge/search/planted.py": ("import everforge.testing", "no room depends on the fakes"),
    "src/everforge/planted/__init__.py": ("", "rooms: one direction, agents and runners blind to each other"),
}


@pytest.fixture(scope="module")
def planted_tree(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What lint-imports says of a copy of the tree in which every contract is violated once."""
    copy = tmp_path_factory.mktemp("planted")
    shutil.copy(ROOT / "pyproject.toml", copy)
    for directory in ("src", "agents", "runners", "operator"):
        shutil.copytree(ROOT / directory, copy / directory, symlinks=True)
    for path, (statement, _) in PLANTED.items():
        (copy / path).parent.mkdir(exist_ok=True)
        (copy / path).write_text(f"{statement}\n")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {"PYTHONPATH": str(copy / "src"), "PATH": "", "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"}
    child = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert child.returncode == 1, child.stdout + child.stderr
    return child.stdout


@pytest.mark.parametrize(("path", "contract"), [(path, contract) for path, (_, contract) in PLANTED.items()])
def test_lint_sees_a_planted_violation(path: str, contract: str, planted_tree: str) -> None:
    planted = "everforge." + path.removeprefix("src/everforge/").removesuffix("/__init__.py").removesuffix(".py")
    assert f"{contract} BROKEN" in planted_tree
    assert planted.replace("/", ".") in planted_tree
