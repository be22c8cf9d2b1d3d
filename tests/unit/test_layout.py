"""Rules of the tree that no linter knows: rooms, names, sizes, what may be written in a file.

Each rule is a function from a list of files to the offenders, so that the test of the tree and the test
that the rule can fail use the same code.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "everforge"
ROOMS = ("agents", "runners", "operator")

# Names and endings apart, or this file would be its own first offender.
REGISTRIES = [
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("registry", "npmjs", "org"),
    ("proxy", "golang", "org"),
    ("deb", "debian", "org"),
    ("crates", "io"),
    ("repo1", "maven", "org"),
]
REGISTRY_HOSTS = re.compile("|".join(re.escape(".".join(parts)) for parts in REGISTRIES))
MACHINE_PATHS = re.compile(r"/(?:root|Users/\w+|home/\w+)/")
EMPTY_WORDS = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
MAX_LINES = 500
# Each takes a second or more to import, and each changes its interface often.
HEAVY_LIBRARIES = ("mlflow", "litellm", "optuna", "kopf", "kubernetes", "prometheus_client")


def tracked_files() -> list[Path]:
    """What git would ship: tracked files, and new ones it does not ignore."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = (ROOT / name for name in listing.stdout.split("\0") if name)
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def modules(files: Iterable[Path]) -> list[Path]:
    """The Python modules of the product, tests left out."""
    return [path for path in files if path.suffix == ".py" and "tests" not in path.relative_to(ROOT).parts]


def shadowing(files: Iterable[Path]) -> list[Path]:
    """Modules, or packages, called like one of the standard library's."""
    special = {"__init__", "__main__", "__future__"}
    return [
        path
        for path in files
        if (path.parent.name if path.stem == "__init__" else path.stem) in sys.stdlib_module_names - special
    ]


def meaningless(files: Iterable[Path]) -> list[Path]:
    """Modules whose name says nothing."""
    return [path for path in files if EMPTY_WORDS & set(path.stem.split("_"))]


def too_long(files: Iterable[Path]) -> list[Path]:
    """Modules beyond the size at which a split is due."""
    return [path for path in files if len(path.read_text().splitlines()) > MAX_LINES]


def lines_matching(files: Iterable[Path], pattern: re.Pattern[str]) -> list[str]:
    """`file:line` of each line that matches; binary files have no lines."""
    found = []
    for path in files:
        text = path.read_text(errors="ignore")
        if pattern.search(text):
            numbered = enumerate(text.splitlines(), start=1)
            found += [f"{path.name}:{number}" for number, line in numbered if pattern.search(line)]
    return found


def packages_in(files: Iterable[Path], *parts: str) -> list[Path]:
    """`__init__.py` files below a directory of this repository."""
    return [path for path in files if path.name == "__init__.py" and path.is_relative_to(ROOT.joinpath(*parts))]


def importers(files: Iterable[Path], library: str) -> list[Path]:
    """Modules with an import statement of a library, wherever in the module it stands."""
    statement = re.compile(rf"^\s*(?:import|from) {library}\b", re.MULTILINE)
    return [path for path in files if statement.search(path.read_text())]


def broken_links(document: Path) -> list[str]:
    """Relative links of a Markdown file that lead nowhere."""
    prose = re.sub(r"```.*?```|`[^`]*`", "", document.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose)
    return [link for link in targets if "://" not in link and not (document.parent / link).exists()]


@pytest.fixture(scope="module")
def tree() -> Sequence[Path]:
    return tracked_files()


@pytest.mark.parametrize("room", ROOMS)
def test_room_is_linked_into_the_package(room: str) -> None:
    link = PACKAGE / room
    assert link.is_symlink()
    assert link.readlink() == Path("..", "..", room)
    assert (link / "__init__.py").is_file() or room == "operator"


def test_knowledge_is_linked_into_the_package_as_data(tree: Sequence[Path]) -> None:
    assert (PACKAGE / "knowledge").readlink() == Path("..", "..", "knowledge")
    held = {path.suffix for path in tree if path.is_relative_to(ROOT / "knowledge")}
    assert held == {".yaml"}


def test_operator_is_never_a_package_at_the_root(tree: Sequence[Path]) -> None:
    # With an __init__.py it shadows the standard library's operator, and `python -m json.tool` dies.
    assert not packages_in(tree, "operator")


def test_tests_are_no_packages(tree: Sequence[Path]) -> None:
    # tests/unit/operator/__init__.py would replace sys.modules["operator"].
    assert not packages_in(tree, "tests")


def test_package_ships_its_types() -> None:
    assert (PACKAGE / "py.typed").is_file()
    assert '"py.typed"' in (ROOT / "pyproject.toml").read_text()


def test_no_module_is_named_like_one_of_the_standard_library(tree: Sequence[Path]) -> None:
    assert not shadowing(modules(tree))


def test_no_module_has_a_name_that_says_nothing(tree: Sequence[Path]) -> None:
    assert not meaningless(modules(tree))


def test_no_module_is_longer_than_a_reader_can_hold(tree: Sequence[Path]) -> None:
    assert not too_long([path for path in tree if path.suffix == ".py"])


@pytest.mark.parametrize("library", HEAVY_LIBRARIES)
def test_heavy_library_is_imported_in_one_adapter_at_most(library: str, tree: Sequence[Path]) -> None:
    assert len(importers(modules(tree), library)) <= 1


def test_links_of_documents_lead_somewhere(tree: Sequence[Path]) -> None:
    documents = [path for path in tree if path.suffix == ".md"]
    assert not {path.name: broken for path in documents if (broken := broken_links(path))}


def test_no_file_names_a_package_registry(tree: Sequence[Path]) -> None:
    # Which index serves a machine is that machine's affair; hashes decide what is installed.
    assert not lines_matching(tree, REGISTRY_HOSTS)


def test_no_file_names_a_path_of_one_machine(tree: Sequence[Path]) -> None:
    assert not lines_matching(tree, MACHINE_PATHS)


def test_rules_see_an_offender_when_there_is_one(tmp_path: Path) -> None:
    for name in ("logging.py", "graph_utils.py", "graph.py"):
        (tmp_path / name).write_text("line\n" * (MAX_LINES + (name == "graph.py")))
    files = sorted(tmp_path.glob("*.py"))
    document = tmp_path / "page.md"
    document.write_text("[a](nowhere.md), [b](page.md#top), [c](https://semver.org), `[d](code)`")
    assert [path.name for path in shadowing(files)] == ["logging.py"]
    assert [path.name for path in meaningless(files)] == ["graph_utils.py"]
    assert [path.name for path in too_long(files)] == ["graph.py"]
    (tmp_path / "graph.py").write_text("def f():\n    import mlflow.entities\n")
    assert [path.name for path in importers(files, "mlflow")] == ["graph.py"]
    assert broken_links(document) == ["nowhere.md"]
    assert packages_in([ROOT / "operator" / "__init__.py"], "operator")


@pytest.mark.parametrize("host", [".".join(parts) for parts in REGISTRIES])
def test_registry_is_recognised_in_any_line(host: str, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(f"numpy\n--index-url https://{host}/simple\n")
    assert lines_matching(tmp_path.iterdir(), REGISTRY_HOSTS) == ["requirements.txt:2"]


@pytest.mark.parametrize("home", ["root", "home/someone", "Users/someone"])
def test_path_of_one_machine_is_recognised_in_any_line(home: str, tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text(f"first\n/{home}/.venv/bin/python\n")
    assert lines_matching(tmp_path.iterdir(), MACHINE_PATHS) == ["run.sh:2"]
