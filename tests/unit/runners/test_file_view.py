"""A candidate finds the system and its interpreter, and nothing of its task, its judge or its neighbours."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everforge.runners.isolation.file_view import _may_be_covered, _outermost, is_below, view_of_this_machine

PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
CHECKOUT = Path(__file__).parents[3]
READ = """
def read(path):
    try:
        with open(path, 'rb') as file:
            return file.read(64).decode(errors='replace')
    except OSError as error:
        return type(error).__name__
"""


@given(st.lists(PATHS))
def test_outermost_paths_cover_all_and_not_each_other(paths: list[str]) -> None:
    kept = _outermost(paths)
    assert all(is_below(path, kept) for path in paths)
    assert not any(is_below(path, set(kept) - {path}) for path in kept)


@pytest.mark.parametrize(
    ("path", "covered"),
    [
        pytest.param("/", False, id="everything"),
        pytest.param("/usr/bin", False, id="programs"),
        pytest.param("/usr/local", False, id="tool chains"),
        pytest.param("/opt", False, id="all that was installed beside the system"),
        pytest.param("/opt/kernels", True, id="a checkout among tool chains"),
        pytest.param("/srv/project", True, id="a checkout"),
        pytest.param("/usrlocal", True, id="a name that only begins like the system's"),
    ],
)
def test_place_of_a_task_is_covered_unless_it_is_the_systems(path: str, covered: bool) -> None:
    assert _may_be_covered(path) == covered


def test_libraries_named_by_the_environment_stay_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path}:relative::/does/not/exist")
    visible = view_of_this_machine("/nowhere").visible
    assert str(tmp_path) in visible
    assert not {"relative", "", "/does/not/exist", "/"} & set(visible)


def test_directory_a_task_is_started_from_is_never_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    view = view_of_this_machine("/nowhere")
    assert str(tmp_path) in view.hidden
    assert not any(is_below(str(tmp_path), (path,)) for path in view.visible)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that anybody may read, as the parent's temporary files could be."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.getuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o011)
    path = tmp_path / "expected.pt"
    path.write_text("the answer")
    path.chmod(0o644)
    return path


def test_files_of_task_and_parent_are_not_there(confidant: Any, secret: Path) -> None:
    confidant.need("files")
    tasks = [next((CHECKOUT / "examples").rglob("*.py")), Path(__file__), CHECKOUT / "pyproject.toml"]
    assert all(path.is_file() for path in tasks)
    body = f"{READ}found = [read(path) for path in {[str(path) for path in (secret, *tasks)]}]"
    assert confidant.find(body) == ["FileNotFoundError"] * 4


def test_checkout_shows_its_packages_and_nothing_beside_them(confidant: Any) -> None:
    confidant.need("files")
    body = (
        f"import os\nroot = {str(CHECKOUT)!r}\nfound = {{name: os.listdir(root + '/' + name) for name in ('.', 'src')}}"
    )
    found = confidant.find(body)
    assert set(found["."]) <= {"src", "runners", ".venv"}
    assert found["src"] == ["everforge"]


def test_only_the_systems_directories_hold_anything(confidant: Any) -> None:
    confidant.need("files")
    body = (
        "import os\nfound = {place: os.listdir(place) for place in ('/srv', '/mnt', '/media', '/var', '/run', '/boot')"
    )
    found = confidant.find(body + " if os.path.isdir(place)}")
    assert found
    assert {place: names for place, names in found.items() if names and place not in ("/run", "/var")} == {}


def test_other_workers_directories_are_not_there(confidant: Any) -> None:
    confidant.need("files")
    where = "import os\nfound = os.getcwd()"
    with confidant.nursery.worker(confidant.limits) as neighbour, confidant.nursery.worker(confidant.limits) as worker:
        theirs = confidant.ask(neighbour, f"open('mine', 'w').write('x')\n{where}")
        own = confidant.ask(worker, where)
        beside = f"import os\nfound = [os.listdir(os.path.dirname(os.getcwd())), os.path.exists({theirs!r})]"
        assert confidant.ask(worker, beside) == [[os.path.basename(own)], False]


def test_own_directory_holds_its_source_and_the_rest_cannot_be_written(confidant: Any) -> None:
    confidant.need("files")
    body = """
import os, everforge, torch
found = [os.listdir('.')]
for place in (os.path.dirname(everforge.__file__), os.path.dirname(torch.__file__), '/', '/srv', '/usr', '/etc'):
    try:
        open(place + '/planted', 'w')
    except OSError as error:
        found.append(error.strerror)
"""
    own, *refused = confidant.find(body)
    assert set(own) <= {"everforge_candidate.py", "inductor"}  # PyTorch makes its cache's directory
    assert len(refused) == 6
    assert set(refused) <= {"Read-only file system", "Permission denied"}


def test_what_is_covered_cannot_be_uncovered(confidant: Any) -> None:
    confidant.need("files")
    body = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
found = []
for call in (lambda: libc.umount2(b'/tmp', 2), lambda: libc.unshare(0x10000000), lambda: libc.chroot(b'/proc/1/root')):
    found.append(os.strerror(ctypes.get_errno()) if call() == -1 else 'done')
"""
    assert confidant.find(body) == ["Operation not permitted"] * 3


def test_parent_and_its_descriptors_are_out_of_reach(confidant: Any) -> None:
    confidant.need("pids", "files")
    parent = os.getpid()
    body = f"""{READ}
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
found = [read('/proc/{parent}/environ'), read('/proc/{parent}/fd/0'), read('/proc/1/environ'), read('/proc/1/mem')]
for pid in ({parent}, 1, os.getppid()):
    found.append('done' if libc.ptrace(16, pid, 0, 0) == 0 else os.strerror(ctypes.get_errno()))
for pid in ({parent}, 1):
    try:
        os.kill(pid, 9)
        found.append('sent')
    except OSError as error:
        found.append(type(error).__name__)
"""
    found = confidant.find(body)
    assert found[:2] == ["FileNotFoundError"] * 2
    assert set(found[2:4]) == {"PermissionError"}
    assert set(found[4:7]) <= {"Operation not permitted", "No such process"}
    # The init of a pid namespace takes no signal from below, if it may be sent one at all.
    assert found[7] == "ProcessLookupError"
    assert found[8] in ("PermissionError", "sent")


def test_memory_and_descriptors_of_the_parent_cannot_be_read_wherever_it_is_in_sight(confidant: Any) -> None:
    parent = os.getpid()
    body = f"""{READ}
import os
found = [read('/proc/{parent}/mem'), read('/proc/{parent}/environ'), read(f'/proc/{{os.getppid()}}/mem')]
try:
    found.append(os.readlink('/proc/{parent}/fd/1'))
except OSError as error:
    found.append(type(error).__name__)
"""
    assert set(confidant.find(body)) <= {"PermissionError", "FileNotFoundError"}


def test_open_descriptors_are_its_output_and_its_channel(confidant: Any) -> None:
    confidant.need("files")
    body = """
import os
found = {}
for number in os.listdir('/proc/self/fd'):
    try:
        found[number] = os.readlink('/proc/self/fd/' + number).split(':')[0]
    except OSError:
        pass  # the listing's own
"""
    found = confidant.find(body)
    assert sorted(found.values())[1:] == sorted([found["1"], found["2"], "socket"])
    assert found["0"] == "/dev/null"
