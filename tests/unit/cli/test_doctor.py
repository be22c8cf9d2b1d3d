"""What `everforge doctor` finds, how it says so, and the command it gives for what is missing."""

import io
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from everforge.cli.compile_check import CompileResult, check_cpp, check_cuda, check_sycl
from everforge.cli.device_check import DeviceReport, check_device, sandbox_remedy
from everforge.cli.doctor import store_part
from everforge.cli.doctor_report import doctor_report, print_doctor_report
from everforge.cli.installed import Part, install_command, installed_parts, program, python_package
from everforge.errors import DeviceFault
from everforge.model.candidate import Language
from everforge.model.device import DeviceKind, Environment
from everforge.testing import samples


def works(language: Language) -> CompileResult:
    return CompileResult(language=language, compiler="/usr/bin/cc", error=None)


def broken(language: Language, error: str) -> CompileResult:
    return CompileResult(language=language, compiler="/usr/bin/cc", error=error)


def environment(device: DeviceKind, **changes: object) -> Environment:
    return samples.environment(device).model_copy(update=changes)


def cpu_report(cpp: CompileResult, **changes: object) -> DeviceReport:
    return check_device(DeviceKind.CPU, lambda device: environment(device, **changes), {Language.CPP: lambda: cpp})


def test_a_device_the_runner_does_not_have_is_reported_with_its_reason() -> None:
    def ask(_device: DeviceKind) -> Environment:
        raise DeviceFault("no NVIDIA GPU is visible")

    report = check_device(DeviceKind.CUDA, ask, {})
    assert (report.environment, report.problem) == (None, "no NVIDIA GPU is visible")
    assert not report.runs_campaigns


def test_a_cpu_with_a_compiler_runs_campaigns() -> None:
    assert cpu_report(works(Language.CPP)).runs_campaigns


@pytest.mark.parametrize(
    ("error", "command"),
    [
        pytest.param("check.cpp:1: fatal error: Python.h: No such file", "python3-dev", id="headers"),
        pytest.param("no C++ compiler on PATH", "g++", id="compiler"),
    ],
)
def test_a_cpu_without_a_working_compiler_says_what_to_install(
    error: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    report = cpu_report(broken(Language.CPP, error))
    assert not report.runs_campaigns
    assert report.languages[1].remedy == f"apt-get install -y {command}"


def test_a_gpu_runs_campaigns_through_triton_even_without_nvcc() -> None:
    toolchain = {"torch": "2.11.0", "triton": "3.6.0"}
    checks = {Language.CUDA: lambda: broken(Language.CUDA, "no nvcc")}
    report = check_device(DeviceKind.CUDA, lambda device: environment(device, toolchain=toolchain), checks)
    assert report.runs_campaigns
    assert [(r.language, r.works) for r in report.languages] == [
        (Language.PYTORCH, True),
        (Language.TRITON, True),
        (Language.CUDA, False),
    ]


def test_missing_sandbox_layers_are_named_with_what_brings_them() -> None:
    report = cpu_report(works(Language.CPP), isolation=("pids", "files"))
    assert report.missing_layers == ("network", "ipc", "uid")
    assert report.remedy is not None
    assert cpu_report(works(Language.CPP), isolation=("pids", "network", "ipc", "files", "uid")).remedy is None


def test_root_in_a_container_needs_another_remedy_than_a_user() -> None:
    assert "SYS_ADMIN" in sandbox_remedy(is_root=True)
    assert "SYS_ADMIN" not in sandbox_remedy(is_root=False)


def test_this_machines_compiler_compiles() -> None:
    assert check_cpp().error is None


def test_a_compiler_that_fails_is_reported_with_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\necho 'check.cpp:1: fatal error: Python.h: No such file' >&2\nexit 1\n")
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", str(compiler))
    assert "Python.h" in str(check_cpp().error)


def test_absent_compilers_are_no_errors_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (("PATH", str(tmp_path)), ("CUDA_HOME", str(tmp_path)), ("CXX", "absent")):
        monkeypatch.setenv(name, value)
    assert [check().compiler for check in (check_cpp, check_cuda, check_sycl)] == [None] * 3


def test_every_part_that_is_absent_and_needed_has_a_command() -> None:
    for part in installed_parts(which=lambda _name: None):
        if part.required and part.version is None:
            assert part.remedy


def test_an_absent_package_is_brought_by_its_extra() -> None:
    assert python_package("no-such-package", "nothing", "store").remedy == "pip install 'everforge[store]'"


def test_kubectl_may_be_absent() -> None:
    absent = program("kubectl", "clusters", False, which=lambda _name: None)
    assert (absent.required, absent.remedy) == (False, None)


@pytest.mark.parametrize(
    ("present", "command"),
    [("apt-get", "apt-get install -y g++"), ("dnf", "dnf install -y gcc-c++"), ("", "apt-get install -y g++")],
)
def test_the_command_is_that_of_the_machines_package_manager(present: str, command: str) -> None:
    assert install_command("c++", lambda name: name if name == present else None) == command


def test_looking_for_packages_does_not_import_them() -> None:
    code = """
import sys
from everforge.cli.installed import installed_parts
installed_parts()
sys.exit('torch' in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_store_is_tried_in_the_nearest_directory_that_exists(tmp_path: Path) -> None:
    assert store_part(tmp_path / "a" / "b").works
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_written_is_a_problem() -> None:
    # Not even root makes files in /proc.
    part = store_part(Path("/proc/everforge"))
    assert not part.works
    assert "/proc cannot be written" in str(part.problem)


def test_the_report_is_ready_when_one_device_is() -> None:
    absent = DeviceReport(device=DeviceKind.XPU, problem="no Intel GPU")
    assert doctor_report((), (cpu_report(works(Language.CPP)), absent)).ready
    assert not doctor_report((), (absent,)).ready


def test_the_page_keeps_commands_on_one_line_however_narrow_the_terminal() -> None:
    part = Part(name="nvcc", needed_for="CUDA C++", required=False, remedy="apt-get install -y nvidia-cuda-toolkit")
    console = Console(file=io.StringIO(), width=30)
    print_doctor_report(doctor_report((part,), (cpu_report(works(Language.CPP)),)), console)
    page = console.file.getvalue()  # type: ignore[attr-defined]
    assert "nvcc is not installed: apt-get install -y nvidia-cuda-toolkit\n" in page


@pytest.mark.slow
def test_doctor_prints_one_json_object_and_finds_this_cpu(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from everforge.cli.app import main; main()", "doctor", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    report = json.loads(done.stdout)
    assert (done.returncode, report["ready"]) == (0, True)
    cpu = report["devices"][0]
    assert (cpu["device"], cpu["problem"]) == ("cpu", None)
    assert {language["language"]: language["works"] for language in cpu["languages"]}["cpp"]
    assert list(tmp_path.iterdir()) == []
