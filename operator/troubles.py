"""Why a Job does not run, or how it ended, told from what Kubernetes reports of it and its pods.

Each trouble becomes a condition that says what is wrong and what to do; it is gone when its cause is gone, because
it is told anew from what is seen each time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from everforge.model.verdict import ExitCode
from everforge.operator.observed import Job, Observed, Pod, WarningEvent

PULL_REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ErrImageInspect")
CONFIG_REASONS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")


@dataclass(frozen=True)
class Trouble:
    """A condition's reason, and what to do about it."""

    reason: str
    message: str


class End(StrEnum):
    """How the pod of a Job ended, as the operator answers it."""

    DONE = "done"
    REFUSED = "refused"
    MACHINE = "machine"
    KILLED = "killed"


@dataclass(frozen=True)
class Ending:
    """The end of one attempt."""

    end: End
    told: str = ""
    node: str | None = None


def trouble_of(job: Job, observed: Observed) -> Trouble | None:
    """What keeps a Job from running; None if it runs, or is only starting."""
    pods = [pod for pod in observed.pods_of(job) if not pod.deleting]
    if not pods:
        return _without_pods(job, observed.warnings_about(job.uid))
    return next((found for pod in pods for found in _of_pod(pod, observed.warnings_about(pod.uid))), None)


def refusal(message: str) -> Trouble:
    """What the API server's refusal of an object means."""
    if "exceeded quota" in message:
        return Trouble(
            "QuotaExceeded",
            f"a ResourceQuota of the namespace is used up: {message}. Raise it, or let other work end; "
            "this goes on by itself",
        )
    if "serviceaccount" in message and "not found" in message:
        return Trouble(
            "ServiceAccountNotFound",
            f"{message}. Apply deploy/agent-access.yaml in this namespace; this goes on by itself",
        )
    if "PodSecurity" in message or "admission" in message:
        return Trouble("PodRefused", f"an admission policy refuses the pod: {message}. Change the policy or the pool")
    return Trouble("PodRefused", f"the API server refuses the pod: {message}")


def ending_of(job: Job, observed: Observed) -> Ending:
    """How a finished Job ended: by the candidate's or user's fault, or by the machine's."""
    ended = [pod for pod in observed.pods_of(job) if pod.exit_code is not None or pod.phase in ("Succeeded", "Failed")]
    pod = ended[-1] if ended else None
    if pod is None:
        # The pod is gone, and with it the agent's word: the next attempt finds the campaign in the store and says it.
        return Ending(End.KILLED, "its pod is gone")
    return Ending(_end(job, pod.exit_code), pod.told or pod.ended, pod.node)


def _end(job: Job, exit_code: int | None) -> End:
    if job.succeeded or exit_code == 0:
        return End.DONE
    if exit_code == ExitCode.USAGE:
        return End.REFUSED
    if exit_code in (ExitCode.DEVICE_FAULT, ExitCode.HARNESS_FAULT):
        return End.MACHINE
    return End.KILLED


def _without_pods(job: Job, warnings: tuple[WarningEvent, ...]) -> Trouble | None:
    refused = [warning for warning in warnings if warning.reason == "FailedCreate"]
    if not refused or job.finished or job.suspended:
        return None
    return refusal(refused[-1].message)


def _of_pod(pod: Pod, warnings: tuple[WarningEvent, ...]) -> Iterator[Trouble]:
    if pod.phase != "Pending":
        return
    if pod.unschedulable:
        yield Trouble(
            "Unschedulable",
            f"no node takes the pod: {pod.unschedulable}. Free or add a node that fits; this goes on by itself",
        )
    elif pod.waiting in PULL_REASONS:
        yield Trouble(
            "ImagePullFailed",
            f"the image cannot be pulled: {pod.waiting_message or pod.waiting}. Correct the image, or give the node "
            "access to its registry; this goes on by itself",
        )
    elif pod.waiting in CONFIG_REASONS:
        yield Trouble("ContainerNotStarted", f"the container cannot start: {pod.waiting_message or pod.waiting}")
    else:
        mounts = [warning for warning in warnings if warning.reason == "FailedMount"]
        if mounts:
            yield Trouble("MountFailed", f"a volume cannot be mounted: {mounts[-1].message}. Create what is missing")
