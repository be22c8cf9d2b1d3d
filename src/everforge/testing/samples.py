"""Valid records for tests: say only what the test is about, the rest is filled in plausibly.

Every builder is deterministic, so two calls with the same arguments give equal records.
"""

from everforge.model.budget import Budget, Spend
from everforge.model.campaign import (
    CampaignRecord,
    CampaignSpec,
    CampaignState,
    Champion,
    StopReason,
    baselines_of,
)
from everforge.model.candidate import Candidate, GeneratorKind, Language, ParameterValue
from everforge.model.device import DeviceKind, Environment, Peaks
from everforge.model.evaluation import Evaluation, StageSeconds, VariantResult
from everforge.model.graph import GraphNode, Ref, TaskGraph, TensorMeta
from everforge.model.interval import Interval
from everforge.model.precision import Precision
from everforge.model.session import Baseline, TaskFacts, VariantFacts
from everforge.model.task import TaskSpec, Variant
from everforge.model.trial import Conversation, Purpose, Trial, trial_id_of
from everforge.model.verdict import Fault, Verdict

# Seconds since the epoch of trial 0; trial n finishes n minutes later.
STARTED_AT_S = 1_700_000_000.0

TASK_SOURCE = """\
import torch
from torch import nn

batch_size = 64
features = 16384


class Model(nn.Module):
    def forward(self, x):
        return torch.logsumexp(torch.softmax(x, dim=-1), dim=-1)


def get_inputs():
    return [torch.rand(batch_size, features)]


def get_init_inputs():
    return []
"""

CANDIDATE_SOURCE = """\
import torch
from torch import nn


class ModelNew(nn.Module):
    def forward(self, x):
        p = torch.softmax(x, dim=-1)
        return p.exp().sum(dim=-1).log()
"""


def task_spec(name: str = "softmax-lse", precision: Precision = Precision.FP32) -> TaskSpec:
    """A task of two variants, the second held out."""
    return TaskSpec(
        name=name,
        source=TASK_SOURCE,
        variants=(
            Variant(name="prefill", constants={"batch_size": 64}),
            Variant(name="decode", constants={"batch_size": 1}, held_out=True),
        ),
        precision=precision,
    )


def campaign_spec(
    name: str = "softmax-lse",
    task: TaskSpec | None = None,
    device: DeviceKind = DeviceKind.CPU,
    trials: int = 40,
) -> CampaignSpec:
    """A campaign of the builtin generator."""
    return CampaignSpec(
        name=name, task=task or task_spec(), device=device, budget=Budget(trials=trials), target_speedup=1.5
    )


def environment(device: DeviceKind = DeviceKind.CPU) -> Environment:
    """A workstation with that device."""
    named = {
        DeviceKind.CPU: ("AMD EPYC 9354", "x86_64", None),
        DeviceKind.CUDA: ("NVIDIA H200", "sm_90", "580.65.06"),
        DeviceKind.XPU: ("Intel Arc B580", "xe2", "25.22.33944"),
    }
    device_name, architecture, driver = named[device]
    return Environment(
        device=device,
        device_name=device_name,
        architecture=architecture,
        driver=driver,
        toolchain={"python": "3.11.2", "torch": "2.11.0"},
        host="workstation",
        system="Linux 6.1.0, Debian 12",
        cores=2,
        memory_bytes=16 << 30,
        isolation=("process", "limits"),
    )


def task_graph(variant: str = "prefill") -> TaskGraph:
    """One softmax from input to result."""
    meta = TensorMeta(shape=(64, 16384), strides=(16384, 1), dtype="float32")
    return TaskGraph(
        variant=variant,
        nodes=(
            GraphNode(id="x", op="input", outputs=(meta,)),
            GraphNode(id="softmax", op="aten.softmax.int", args=({"node": "x", "index": None}, -1), outputs=(meta,)),
        ),
        results=(Ref(node="softmax"),),
        bytes=2 * 4 * meta.elements,
    )


def task_facts(task: TaskSpec | None = None, device: DeviceKind = DeviceKind.CPU) -> TaskFacts:
    """What a runner measured when it opened a session on the task."""
    task = task or task_spec()
    variants = tuple(
        VariantFacts(
            name=variant.name,
            held_out=variant.held_out,
            baselines=(
                Baseline(name="eager-fp32", median_us=900.0),
                Baseline(name="compile-fp32", median_us=600.0),
                Baseline(name="compile-bf16", error="Inductor refused"),
            ),
            fastest="compile-fp32",
            fastest_fp32="compile-fp32",
            floor_us=150.0,
            graph=task_graph(variant.name),
        )
        for variant in task.variants
    )
    return TaskFacts(
        task_digest=task.digest,
        environment=environment(device),
        peaks=Peaks(bandwidth_bytes_per_s=2e10, flops_per_s={Precision.FP32: 1e11}),
        variants=variants,
        notes=("input x is never negative",),
        device_seconds=4.5,
    )


def candidate(
    label: str = "0",
    language: Language = Language.CPP,
    generator: GeneratorKind = GeneratorKind.BUILTIN,
    strategy: str = "fused row reduction",
    parameters: dict[str, ParameterValue] | None = None,
    parent: str | None = None,
) -> Candidate:
    """A candidate whose source, and so whose digest, follows from `label`."""
    return Candidate(
        source=f"{CANDIDATE_SOURCE}\n# {label}\n",
        language=language,
        generator=generator,
        strategy=strategy,
        parameters={"block": 256, "unroll": True} if parameters is None else parameters,
        parent=parent,
    )


def evaluation(
    verdict: Verdict = Verdict.FASTER,
    speedup: float = 1.8,
    judged: Candidate | None = None,
    task: TaskSpec | None = None,
    device: DeviceKind = DeviceKind.CPU,
) -> Evaluation:
    """An evaluation with the parts its verdict calls for; `speedup` counts only for timed verdicts."""
    timed = verdict in (Verdict.FASTER, Verdict.SLOWER, Verdict.INCONCLUSIVE)
    task = task or task_spec()
    return Evaluation(
        verdict=verdict,
        reason=f"{speedup:.2f} times compile-fp32" if timed else f"the candidate ended as {verdict}",
        fault=Fault.HARNESS if verdict is Verdict.INFRA_ERROR else None,
        speedup=_interval(speedup) if timed else None,
        speedup_fp32=speedup if timed else None,
        sol_fraction=min(1.0, speedup / 4) if timed else None,
        variants=(_variant_result(task.variants[0].name, verdict, speedup),)
        if timed or verdict is Verdict.INCORRECT
        else (),
        environment=environment(device),
        task_digest=task.digest,
        candidate_digest=(judged or candidate()).digest,
        diagnostics=None if timed else "candidate.py:4: error: expected ';'",
        stages=StageSeconds(compile=2.0, verify=0.5, time=3.0 if timed else 0.0, overhead=0.4),
        device_seconds=3.5 if timed else 0.5,
    )


def _interval(value: float) -> Interval:
    return Interval(value=value, low=value * 0.97, high=value * 1.03)


def _variant_result(name: str, verdict: Verdict, speedup: float) -> VariantResult:
    if not verdict.is_correct:
        return VariantResult(
            name=name,
            held_out=False,
            correct=False,
            detail="output 0 differs",
            max_error=0.5,
            error_ratio=40.0,
        )
    return VariantResult(
        name=name,
        held_out=False,
        correct=True,
        max_error=1e-6,
        error_ratio=0.25,
        candidate_us=600.0 / speedup,
        baselines_us={"eager-fp32": 900.0, "compile-fp32": 600.0},
        speedup=_interval(speedup),
        samples=40,
    )


def conversation(prompt: str = "Make it faster.", reply: str = "```python\n…\n```") -> Conversation:
    """One exchange with a model."""
    return Conversation(
        model="openai/gpt-4.1",
        prompt=prompt,
        reply=reply,
        prompt_tokens=1200,
        completion_tokens=800,
        dollars=0.0088,
        seconds=7.5,
    )


def trial(
    number: int = 0,
    spec: CampaignSpec | None = None,
    verdict: Verdict = Verdict.FASTER,
    speedup: float = 1.8,
    purpose: Purpose = Purpose.SEARCH,
    proposed: Candidate | None = None,
    said: Conversation | None = None,
) -> Trial:
    """Trial `number` of a campaign; its candidate follows from the number unless one is given."""
    spec = spec or campaign_spec()
    proposed = proposed or candidate(str(number))
    judged = evaluation(verdict, speedup, proposed, spec.task, spec.device)
    tokens = said.prompt_tokens + said.completion_tokens if said else 0
    return Trial(
        trial_id=trial_id_of(spec.campaign_id, number, purpose, proposed.digest),
        campaign_id=spec.campaign_id,
        number=number,
        purpose=purpose,
        candidate=proposed,
        evaluation=judged,
        conversation=said,
        spend=Spend(
            trials=1,
            seconds=judged.stages.total,
            device_seconds=judged.device_seconds,
            tokens=tokens,
            dollars=(said.dollars or 0.0) if said else 0.0,
        ),
        finished_at_s=STARTED_AT_S + 60.0 * number,
    )


def champion(of: Trial) -> Champion:
    """The champion that `of`, a faster trial, makes; not yet registered anywhere.

    Raises ValueError for a trial that was not timed.
    """
    if of.evaluation.speedup is None:
        raise ValueError(f"trial {of.number} is {of.evaluation.verdict}: only a timed trial makes a champion")
    return Champion(
        trial_id=of.trial_id,
        candidate_digest=of.candidate.digest,
        speedup=of.evaluation.speedup,
        speedup_fp32=of.evaluation.speedup_fp32,
        sol_fraction=of.evaluation.sol_fraction,
        algebraic=of.evaluation.algebraic,
    )


def campaign_record(
    spec: CampaignSpec | None = None,
    state: CampaignState = CampaignState.RUNNING,
    trials: tuple[Trial, ...] = (),
    best: Champion | None = None,
) -> CampaignRecord:
    """Where a campaign with these trials stands."""
    spec = spec or campaign_spec()
    verdicts = [each.evaluation.verdict for each in trials]
    spend = Spend()
    for each in trials:
        spend = spend.plus(each.spend)
    return CampaignRecord(
        campaign_id=spec.campaign_id,
        name=spec.name,
        task=spec.task.name,
        task_digest=spec.task.digest,
        device=spec.device,
        state=state,
        stop_reason=StopReason.TARGET if state is CampaignState.SUCCEEDED else None,
        champion=best,
        baselines_us=baselines_of(task_facts(spec.task, spec.device)),
        trials=len(trials),
        trials_by_verdict={verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)},
        spend=spend,
    )
