"""The red-team corpus: candidates that cheat and candidates that do not, and a bench that judges them.

Each candidate is one file below `hostile/` or `honest/`. Its docstring says what it tries, then, in lines of
`Key: value`, on which task and what may come of it. `test_hostile.py`, `test_honest.py` and `score.py` stand on
this; it needs nothing but what a runner needs, so that it runs on a bare GPU machine.
"""

import ast
import re
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from everforge.model.candidate import Candidate, GeneratorKind, Language
from everforge.model.device import DeviceKind, Peaks
from everforge.model.evaluation import Evaluation
from everforge.model.precision import Precision
from everforge.model.session import EvaluationSettings, OpenSession, RunTrial
from everforge.model.task import TaskSpec, Variant
from everforge.model.verdict import Verdict
from everforge.runners.devices import device_of
from everforge.runners.environment import environment_of
from everforge.runners.facts.roofline import measured_peaks
from everforge.runners.isolation.nursery import Nursery
from everforge.runners.rules.static_rules import StaticFinding, judge_source
from everforge.runners.sessions import Session

Side = Literal["hostile", "honest"]

HERE = Path(__file__).resolve().parent
KEYS = ("Task", "Language", "Devices", "Expect", "Behind", "Precision", "Fresh")
# Three seeds and five rounds are too few for a fine interval and enough for every lie told here.
QUICK = EvaluationSettings(
    seeds=3, timeout_s=40, min_rounds=5, max_rounds=12, timing_seconds=0.5, memory_bytes=2 << 30, cpu_seconds=120
)
_LINE = re.compile(rf"^({'|'.join(KEYS)}):[ \t]*(.+)$", re.MULTILINE)


class CorpusError(Exception):
    """A file of the corpus that is not what it should be; the message names it."""


@dataclass(frozen=True)
class Entry:
    """One candidate of the corpus. `behind` is empty where it harms nobody once the rules are off."""

    name: str
    side: Side
    trick: str
    task: str
    language: Language
    devices: tuple[DeviceKind, ...]
    expect: tuple[Verdict, ...]
    behind: tuple[Verdict, ...]
    precision: Precision
    fresh: bool
    source: str

    def accepted(self, evaluation: Evaluation) -> bool:
        """Whether the evaluator took the candidate for a kernel that computes the task."""
        return evaluation.verdict.is_correct


def load(side: Side) -> tuple[Entry, ...]:
    """Every candidate of one side, by name. Raises CorpusError for a file without its lines."""
    return tuple(read_entry(path, side) for path in sorted((HERE / side).glob("*.py")))


def read_entry(path: Path, side: Side) -> Entry:
    """One candidate. Raises CorpusError."""
    source = path.read_text(encoding="utf-8")
    text = ast.get_docstring(ast.parse(source)) or ""
    values = dict(_LINE.findall(text))
    try:
        return Entry(
            name=path.stem,
            side=side,
            trick=" ".join(_LINE.split(text)[0].split()),
            task=values["Task"],
            language=Language(values["Language"]),
            devices=tuple(map(DeviceKind, _words(values.get("Devices", "cpu, cuda")))),
            expect=tuple(map(Verdict, _words(values["Expect"]))) if side == "hostile" else (),
            behind=tuple(map(Verdict, _words(values["Behind"]))) if side == "hostile" else (),
            precision=Precision(values.get("Precision", "fp32")),
            fresh=values.get("Fresh") == "yes",
            source=source,
        )
    except KeyError as error:
        raise CorpusError(f"{path}: its docstring has no line `{error.args[0]}: …`") from error
    except ValueError as error:
        raise CorpusError(f"{path}: {error}") from error


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip() not in ("", "-")]


def task_spec(entry: Entry) -> TaskSpec:
    """The task an entry is judged on; sizes it was not shown are derived by the harness."""
    source = (HERE / "tasks" / f"{entry.task}.py").read_text(encoding="utf-8")
    return TaskSpec(name=entry.task, source=source, variants=(Variant(name="main"),), precision=entry.precision)


class Bench:
    """One warm process and one open session for each task and precision, opened when first needed."""

    def __init__(self, device: DeviceKind = DeviceKind.CPU, settings: EvaluationSettings = QUICK) -> None:
        self.device = device_of(device)
        self._settings = settings
        self._stack = ExitStack()
        root = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="redteam-")))
        root.chmod(0o711)  # workers run as other users, who must reach their own directories
        self.nursery = Nursery(root)
        self._stack.callback(self.nursery.close)
        self.environment = environment_of(self.device, self.nursery.layers)
        self._peaks: dict[Precision, Peaks] = {}
        self._sessions: dict[tuple[str, Precision], Session] = {}
        self._rules_are_on = True
        self._trials = 0

    def __enter__(self) -> "Bench":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every session and end the warm process."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
        self._stack.close()

    def evaluate(self, entry: Entry, *, rules: bool = True, fresh: bool | None = None) -> Evaluation:
        """Judge one entry, with the static rules or without; `fresh` is the run a champion must pass."""
        made = Candidate(source=entry.source, language=entry.language, generator=GeneratorKind.USER)
        wanted = entry.fresh if fresh is None else fresh
        return self.judge(task_spec(entry), made, rules=rules, fresh=wanted)

    def judge(
        self, task: TaskSpec, made: Candidate, *, rules: bool = True, fresh: bool = False, measured: bool = True
    ) -> Evaluation:
        """Judge any candidate on any task; what is not `measured` is only checked."""
        session = self.session(task)
        self._trials += 1
        request = RunTrial(trial_id=f"trial-{self._trials}", candidate=made, fresh=fresh, timed=measured)
        self._rules_are_on = rules
        try:
            return session.run(request, _silent)
        finally:
            self._rules_are_on = True

    def session(self, task: TaskSpec) -> Session:
        """The open session on a task. Raises TaskError for a task that cannot be one."""
        key = (task.digest, task.precision)
        if key not in self._sessions:
            self._sessions[key] = self._open(task)
        return self._sessions[key]

    def _open(self, task: TaskSpec) -> Session:
        if task.precision not in self._peaks:
            self._peaks[task.precision] = measured_peaks(self.nursery, self.device, task.precision)
        request = OpenSession(task=task, device=self.device.kind, settings=self._settings)
        peaks = self._peaks[task.precision]
        session = Session(request, self.device, self.environment, peaks, self.nursery, rules=self._judge)
        session.open(_silent)
        return session

    def _judge(self, source: str) -> StaticFinding | None:
        return judge_source(source) if self._rules_are_on else None


def _silent(stage: str, detail: str) -> None:
    """Nobody watches the progress of a test."""
