"""What each device of this machine can do: is it there, which languages work, how candidates are jailed.

`everforge doctor` asks. The runner answers for the device, because PyTorch lives in its process alone; the
compilers are tried here, each once.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from everforge.cli.compile_check import CompileResult, check_cpp, check_cuda, check_sycl
from everforge.cli.installed import install_command
from everforge.errors import MachineFault
from everforge.model.base import Record
from everforge.model.candidate import Language
from everforge.model.device import DeviceKind, Environment

AskEnvironment = Callable[[DeviceKind], Environment]
CompilerCheck = Callable[[], CompileResult]

LANGUAGES = {
    DeviceKind.CPU: (Language.PYTORCH, Language.CPP),
    DeviceKind.CUDA: (Language.PYTORCH, Language.TRITON, Language.CUDA),
    DeviceKind.XPU: (Language.PYTORCH, Language.TRITON, Language.SYCL),
}
COMPILER_CHECKS: Mapping[Language, CompilerCheck] = {
    Language.CPP: check_cpp,
    Language.CUDA: check_cuda,
    Language.SYCL: check_sycl,
}
# Layers the sandbox puts around a candidate where the machine allows it, in the runner's words.
SANDBOX_LAYERS = ("pids", "network", "ipc", "files", "uid")
_USER_NAMESPACES = Path("/proc/sys/kernel/unprivileged_userns_clone")
_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")


class LanguageReport(Record):
    """Whether candidates in one language can be built and run on a device."""

    language: Language
    works: bool
    detail: str = ""
    remedy: str | None = None


class DeviceReport(Record):
    """What one device can do."""

    device: DeviceKind
    environment: Environment | None = None
    """None when the device cannot be used."""
    problem: str | None = None
    """Why it cannot be used, and what would mend it; None if it can."""
    languages: tuple[LanguageReport, ...] = ()
    missing_layers: tuple[str, ...] = ()
    """Sandbox layers this machine does not allow."""
    remedy: str | None = None
    """What would bring the missing sandbox layers."""

    @property
    def runs_campaigns(self) -> bool:
        """Whether a campaign can run on it: it is there, and kernels can be written for it."""
        return any(report.works and report.language is not Language.PYTORCH for report in self.languages)


def check_device(
    device: DeviceKind,
    ask: AskEnvironment,
    checks: Mapping[Language, CompilerCheck] = COMPILER_CHECKS,
) -> DeviceReport:
    """Ask the runner about a device and try the compilers its candidates need."""
    try:
        environment = ask(device)
    except MachineFault as fault:
        return DeviceReport(device=device, problem=str(fault))
    missing = tuple(layer for layer in SANDBOX_LAYERS if layer not in environment.isolation)
    return DeviceReport(
        device=device,
        environment=environment,
        languages=tuple(_language(language, environment, checks) for language in LANGUAGES[device]),
        missing_layers=missing,
        remedy=sandbox_remedy(os.geteuid() == 0) if missing else None,
    )


def _language(language: Language, environment: Environment, checks: Mapping[Language, CompilerCheck]) -> LanguageReport:
    if language in checks:
        return _compiled(checks[language]())
    tool = {Language.PYTORCH: "torch", Language.TRITON: "triton"}[language]
    version = environment.toolchain.get(tool)
    if version is None:
        remedy = f"pip install {tool}"
        return LanguageReport(language=language, works=False, detail=f"no {tool}", remedy=remedy)
    return LanguageReport(language=language, works=True, detail=f"{tool} {version}")


def _compiled(result: CompileResult) -> LanguageReport:
    if result.works:
        return LanguageReport(language=result.language, works=True, detail=result.compiler or "")
    return LanguageReport(
        language=result.language, works=False, detail=result.error or "", remedy=_compiler_remedy(result)
    )


def _compiler_remedy(result: CompileResult) -> str:
    if "Python.h" in (result.error or ""):
        return install_command("python headers")
    tools = {Language.CPP: "c++", Language.CUDA: "nvcc", Language.SYCL: "icpx"}
    return install_command(tools[result.language])


def sandbox_remedy(is_root: bool) -> str:
    """The one step that lets this machine jail candidates fully."""
    if is_root:
        return "start the container with --cap-add=SYS_ADMIN (unshare and mount are forbidden here)"
    if _says(_USER_NAMESPACES, "0"):
        return "sudo sysctl -w kernel.unprivileged_userns_clone=1"
    if _says(_APPARMOR, "1"):
        return "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    return "run everforge as root, so that candidates get another uid"


def _says(path: Path, value: str) -> bool:
    try:
        return path.read_text(encoding="utf-8").strip() == value
    except OSError:
        return False
