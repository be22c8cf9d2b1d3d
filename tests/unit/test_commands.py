"""`make`, CI and the locked installation: one command for everybody, hashes for everything that is locked."""

import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
FROM_THE_INDEX = {"torch", "triton"}


def project() -> dict[str, Any]:
    """pyproject.toml as data."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(lock: str) -> dict[str, set[str]]:
    """Name to the versions a lock has for it: several where they depend on the Python version."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", (REQUIREMENTS / lock).read_text(), re.MULTILINE):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def dependencies(extra: str) -> dict[str, Requirement]:
    """What an extra asks for by name, with the extras it includes followed."""
    asked: dict[str, Requirement] = {}
    for requirement in map(Requirement, project()["project"]["optional-dependencies"][extra]):
        if requirement.name == project()["project"]["name"]:
            for included in requirement.extras:
                asked |= dependencies(included)
        else:
            asked[canonicalize_name(requirement.name)] = requirement
    return asked


@pytest.mark.parametrize("lock", ["run.txt", "dev.txt"])
def test_everything_locked_has_hashes_and_names_no_index(lock: str) -> None:
    text = (REQUIREMENTS / lock).read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) > 50
    assert not [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry]
    assert not re.search(r"index-url|find-links|trusted-host|://", text)


@pytest.mark.parametrize(("lock", "extras"), [("run.txt", ["cli", "runners"]), ("dev.txt", ["dev"])])
def test_lock_holds_what_pyproject_asks_for(lock: str, extras: list[str]) -> None:
    asked = {name: requirement for extra in extras for name, requirement in dependencies(extra).items()}
    asked |= {requirement.name: requirement for requirement in map(Requirement, project()["project"]["dependencies"])}
    locked = pins(lock)
    for name, requirement in asked.items():
        if name not in FROM_THE_INDEX:
            assert locked[name]
            assert all(requirement.specifier.contains(version) for version in locked[name])


def test_locks_leave_torch_and_triton_to_the_index() -> None:
    for lock in ("run.txt", "dev.txt"):
        assert not [name for name in pins(lock) if name in FROM_THE_INDEX or name.startswith("nvidia")]
    assert pins("torch.txt").keys() == FROM_THE_INDEX


def test_torch_is_pinned_to_the_same_version_in_both_places() -> None:
    asked = dependencies("runners")
    for name, versions in pins("torch.txt").items():
        assert {f"=={version}" for version in versions} == {str(asked[name].specifier)}


def test_demo_and_tests_run_the_same_versions() -> None:
    run, dev = pins("run.txt"), pins("dev.txt")
    assert run == {name: dev.get(name) for name in run}


def test_every_runtime_dependency_says_why_it_is_there() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    declared = text[text.index("dependencies = [") : text.index("dev = [")]
    lines = [line for line in declared.splitlines() if re.match(r'\s+"(?!everforge\[)', line)]
    assert len(lines) > 10
    assert not [line for line in lines if "#" not in line]


def dry_run(target: str) -> str:
    """What a make target would execute."""
    command = ["make", "--dry-run", "--no-print-directory", target]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_every_configured_tool_runs_in_make_test() -> None:
    commands = {"ruff": "ruff check", "mypy": "mypy", "pytest": "pytest", "importlinter": "lint-imports"}
    configured = set(project()["tool"]) - {"setuptools"}
    assert configured == set(commands)
    planned = dry_run("test").splitlines()
    assert not [tool for tool in configured if not any(f"/{commands[tool]}" in line for line in planned)]


@pytest.mark.parametrize("target", ["test", "test-node"])
def test_pytest_is_the_last_command_of_both_suites(target: str) -> None:
    # CI reads the outcome from the last line.
    assert "/pytest" in dry_run(target).splitlines()[-1]


def test_ci_runs_what_everybody_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert re.findall(r"^make \S+", script, re.MULTILINE) == ["make test", "make test-node"]
    assert all((ROOT / file).is_file() for file in re.findall(r"tests/cluster/\S+\.py", script))
    assert (ROOT / ".ci" / "run").stat().st_mode & stat.S_IXUSR


def test_commit_hook_runs_a_part_of_what_ci_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]
    assert [hook["entry"] for hook in hooks[0]["hooks"]] == ["make check"]
    assert set(dry_run("check").splitlines()) <= set(dry_run("test").splitlines())


def executable(path: Path, text: str) -> None:
    """A shell script in a place of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def find_python(directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the search with a PATH of one directory."""
    environment = {"PATH": str(directory), **variables}
    command = ["/bin/sh", str(ROOT / "scripts" / "find-python")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_python_that_exists_but_fails_is_passed_over(tmp_path: Path) -> None:
    executable(tmp_path / "python3", "exit 127")
    executable(tmp_path / "python3.13", "exit 0")
    assert find_python(tmp_path).stdout == "python3.13\n"


def test_python_with_headers_goes_before_one_without(tmp_path: Path) -> None:
    executable(tmp_path / "python3", 'case "$2" in *Python.h*) exit 1;; esac')
    executable(tmp_path / "python3.12", "exit 0")
    assert find_python(tmp_path).stdout == "python3.12\n"


def test_python_without_headers_is_used_with_a_warning(tmp_path: Path) -> None:
    executable(tmp_path / "python3", 'case "$2" in *Python.h*) exit 1;; esac')
    found = find_python(tmp_path)
    assert found.stdout == "python3\n"
    assert "has no Python.h" in found.stderr


def test_machine_without_a_new_enough_python_gets_one_clear_message(tmp_path: Path) -> None:
    executable(tmp_path / "python3", "exit 1")
    found = find_python(tmp_path)
    assert (found.returncode, found.stdout) == (1, "")
    assert "No Python 3.11 to 3.14" in found.stderr


def test_python_named_by_the_user_is_used_or_refused(tmp_path: Path) -> None:
    executable(tmp_path / "python3", "exit 0")
    executable(tmp_path / "mine", "exit 0")
    assert find_python(tmp_path, PYTHON="mine").stdout == "mine\n"
    refused = find_python(tmp_path, PYTHON="absent")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "PYTHON=absent cannot be used" in refused.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The installation's own files beside a .venv whose Python writes down how it was called."""
    for name in ("pyproject.toml", "requirements", "scripts"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name)
        else:
            shutil.copy(source, tmp_path)
    executable(tmp_path / ".venv" / "bin" / "python", 'echo "$*" >> "$0.log"')
    return tmp_path


def pip_calls(checkout: Path, *set_names: str) -> list[str]:
    """Make .venv for each set in turn; what pip was asked for meanwhile."""
    log = checkout / ".venv" / "bin" / "python.log"
    log.unlink(missing_ok=True)
    for set_name in set_names:
        subprocess.run([checkout / "scripts" / "make-venv", set_name], check=True, capture_output=True)
    return [line for line in log.read_text().splitlines() if "pip install" in line]


def test_repeated_installation_does_nothing(checkout: Path) -> None:
    assert len(pip_calls(checkout, "dev")) == 3
    assert pip_calls(checkout, "dev") == []


def test_full_installation_serves_the_demo_too_but_not_the_other_way_round(checkout: Path) -> None:
    assert len(pip_calls(checkout, "run")) == 3
    assert len(pip_calls(checkout, "dev")) == 3
    assert pip_calls(checkout, "run") == []


@pytest.mark.parametrize("changed", ["pyproject.toml", "requirements/dev.txt", "requirements/torch.txt"])
def test_changed_requirements_are_installed_again(checkout: Path, changed: str) -> None:
    pip_calls(checkout, "dev")
    with (checkout / changed).open("a") as file:
        file.write("# changed\n")
    assert len(pip_calls(checkout, "dev")) == 3


def test_locked_packages_are_installed_by_their_hashes_as_wheels(checkout: Path) -> None:
    locked, torch, _own = pip_calls(checkout, "dev")
    assert "--require-hashes" in locked
    assert "requirements/dev.txt" in locked
    assert "--only-binary :all:" in locked
    assert "requirements/torch.txt" in torch
