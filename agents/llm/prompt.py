"""Puts the request to the model together: what stays the same first, what the last trials taught last.

Everything in it is bounded, so the whole is: PROMPT_CHARS_LIMIT characters, about 28,000 tokens. The parts
that do not change within a campaign come first, which is what providers' prompt caches need.
"""

from importlib import resources

from everforge.agents.llm.chat import Message, Role
from everforge.agents.llm.feedback import best_section, caught_section, failure_section, history_section
from everforge.agents.llm.ideas import idea_request, inspirations_section
from everforge.agents.llm.knowledge import knowledge_section
from everforge.agents.llm.limits import limits_section
from everforge.agents.llm.plan import Move
from everforge.agents.llm.quote import inline, shortened
from everforge.agents.llm.task_brief import device_section, task_section
from everforge.model.candidate import Language
from everforge.model.device import DeviceKind, Environment
from everforge.model.lineage import Aim
from everforge.search.disclosure import disclosed
from everforge.search.generator import SearchContext
from everforge.search.knowledge_index import Excerpt

PROMPT_CHARS_LIMIT = 110_000
# Of a reply without code, what is shown to the model again.
_REPEATED_REPLY_CHARS = 4_000

# Languages per device, best first, each with the tools of which one must be installed.
_LANGUAGES: dict[DeviceKind, dict[Language, tuple[str, ...]]] = {
    DeviceKind.CPU: {Language.CPP: ("g++", "clang++", "c++", "icpx"), Language.PYTORCH: ()},
    DeviceKind.CUDA: {Language.TRITON: (), Language.CUDA: ("nvcc",), Language.PYTORCH: ()},
    DeviceKind.XPU: {Language.TRITON: (), Language.SYCL: ("icpx",), Language.PYTORCH: ()},
}

_REQUESTS = {
    Aim.WRITE: "Write a first candidate. Correct comes before fast; a simple kernel that fuses the whole "
    "is a good start.",
    Aim.REPAIR: "Repair the candidate above: find the cause of the failure in what is quoted, and mend it. "
    "Keep what made it fast.",
    Aim.OPTIMISE: "Write a faster candidate than the one above, still correct. Say what limits that "
    "one, and change one thing that matters; do not repeat a trial.",
}
# Once there is an idea to code, planning asks for the same as optimising does.
_REQUESTS[Aim.PLAN] = _REQUESTS[Aim.OPTIMISE]


def build_messages(context: SearchContext, move: Move, excerpts: tuple[Excerpt, ...] = ()) -> tuple[Message, ...]:
    """The request for a move: system message and user message; `excerpts` is what it may know."""
    sections = [
        task_section(context.spec.task),
        device_section(context),
        knowledge_section(excerpts),
        history_section(context.trials),
        "" if move.best is None else best_section(move.best, move.is_best),
        "" if move.best is None or move.aim is Aim.REPAIR else limits_section(context, move.best),
        "" if move.failed is None else failure_section(disclosed(move.failed)),
        "" if move.caught is None else caught_section(disclosed(move.caught)),
        inspirations_section(move.inspirations),
        f"## What is asked\n\n{_REQUESTS[_aim(move)]}{idea_request(move.idea)}",
    ]
    return (
        Message(role=Role.SYSTEM, content=contract(context.facts.environment)),
        Message(role=Role.USER, content="\n\n".join(section for section in sections if section)),
    )


def _aim(move: Move) -> Aim:
    """What is asked in words: a plan at the very beginning ends in a first candidate."""
    return Aim.WRITE if move.aim is Aim.PLAN and move.best is None else move.aim


def ask_again(messages: tuple[Message, ...], reply: str, reason: str) -> tuple[Message, ...]:
    """The request again after a reply that held no candidate, with what was wrong."""
    return (
        *messages,
        Message(role=Role.ASSISTANT, content=shortened(reply, _REPEATED_REPLY_CHARS) or "(empty)"),
        Message(
            role=Role.USER,
            content=f"No candidate could be read from your reply: {inline(reason, 300)}. "
            "Answer with one complete fenced block of Python that defines class ModelNew, nothing after it.",
        ),
    )


def contract(environment: Environment) -> str:
    """The rules for candidates on a device, and how each language it can compile is written."""
    return "\n\n".join([_template("system"), *(_template(language) for language in languages(environment))])


def languages(environment: Environment) -> tuple[Language, ...]:
    """What candidates may be written in: what the device knows and the machine can compile."""
    return tuple(
        language
        for language, tools in _LANGUAGES[environment.device].items()
        if not tools or any(tool in environment.toolchain for tool in tools)
    )


def _template(name: str) -> str:
    file = resources.files("everforge.agents.llm") / "prompts" / f"{name}.md"
    return file.read_text(encoding="utf-8").strip()
