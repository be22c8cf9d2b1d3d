"""One trial outside any campaign: `everforge evaluate` measures a candidate on a runner through this.

A broken machine is an answer here, too: an Evaluation with the verdict `infra_error`, so that whoever asked
gets one JSON object and an exit code either way.
"""

import platform
import socket
from collections.abc import Callable
from os import cpu_count
from pathlib import Path

from everforge.agents.runner_supply import ClosableRunner, StartRunner
from everforge.cli.task_file import at_path
from everforge.cli.text_file import read_text
from everforge.errors import DeviceFault, MachineFault, TaskError
from everforge.model.base import Record
from everforge.model.candidate import Candidate, GeneratorKind, language_of
from everforge.model.device import DeviceKind, Environment
from everforge.model.evaluation import Evaluation
from everforge.model.session import EvaluationSettings, OpenSession, Progress, RunTrial
from everforge.model.task import TaskSpec
from everforge.model.trial import Purpose, trial_id_of
from everforge.model.verdict import Fault, Verdict
from everforge.search.runner_port import OnProgress

# Trials outside campaigns carry this in the place of a campaign's id.
_NO_CAMPAIGN = "evaluate"


class TrialRequest(Record):
    """A candidate to be judged, and against what."""

    task: TaskSpec
    task_path: Path
    candidate: Candidate
    device: DeviceKind
    settings: EvaluationSettings = EvaluationSettings()
    timed: bool = True


def candidate_of_file(path: Path) -> Candidate:
    """The candidate in a file; what is in it is for the runner. Raises UsageError if it cannot be read."""
    source = read_text(path, "candidate")
    return Candidate(source=source, language=language_of(source), generator=GeneratorKind.USER)


def evaluate_once(request: TrialRequest, start: StartRunner, on_progress: OnProgress) -> Evaluation:
    """Start a runner, measure, and end it. Raises TaskError for a task that cannot be one."""
    on_progress(Progress(stage="runner"))
    try:
        runner = start()
    except MachineFault as fault:
        return machine_failure(request, fault, host_environment(request.device))
    try:
        return _measured(request, runner, on_progress)
    finally:
        runner.close()


def _measured(request: TrialRequest, runner: ClosableRunner, on_progress: OnProgress) -> Evaluation:
    environment = host_environment(request.device)
    opening = OpenSession(task=request.task, device=request.device, settings=request.settings)
    try:
        opened = runner.open_session(opening, on_progress)
        environment = opened.facts.environment
        return runner.run_trial(opened.session_id, trial_of(request), on_progress)
    except TaskError as error:
        raise TaskError(at_path(str(error), request.task, request.task_path)) from error
    except MachineFault as fault:
        return machine_failure(request, fault, environment)


def trial_of(request: TrialRequest) -> RunTrial:
    """The trial that judges the candidate on every variant, the held-out ones too, with seeds of its own."""
    digest = request.candidate.digest
    trial_id = trial_id_of(_NO_CAMPAIGN, 0, Purpose.CHAMPION, digest)
    return RunTrial(trial_id=trial_id, candidate=request.candidate, fresh=True, timed=request.timed)


def machine_failure(request: TrialRequest, fault: MachineFault, environment: Environment) -> Evaluation:
    """The evaluation that says the machine broke, not the candidate."""
    reason, _, log = str(fault).partition("\n")
    return Evaluation(
        verdict=Verdict.INFRA_ERROR,
        reason=reason,
        diagnostics=log or None,
        fault=Fault.DEVICE if isinstance(fault, DeviceFault) else Fault.HARNESS,
        environment=environment,
        task_digest=request.task.digest,
        candidate_digest=request.candidate.digest,
    )


def host_environment(device: DeviceKind, hostname: Callable[[], str] = socket.gethostname) -> Environment:
    """What can be said of the machine without a runner: nothing of the device."""
    return Environment(
        device=device,
        device_name="unknown: the runner did not answer",
        architecture=platform.machine(),
        toolchain={"python": platform.python_version()},
        host=hostname(),
        system=platform.platform(),
        cores=cpu_count() or 1,
    )
