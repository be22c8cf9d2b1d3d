"""What is no candidate at all, how much is judged, and that any text gets an answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everforge.model.verdict import Verdict
from everforge.runners.rules.static_rules import (
    MAX_SOURCE_BYTES,
    MOST_VIOLATIONS,
    Rule,
    check_source,
    judge_source,
)

MODEL = "\nclass ModelNew:\n    pass\n"


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        pytest.param("x = 1\nclass ModelNew(:\n", 2, "syntax", id="syntax"),
        pytest.param("", 1, "ModelNew", id="empty"),
        pytest.param("class Model:\n    class ModelNew: pass\n", 1, "ModelNew", id="nested-class"),
        pytest.param("def f():\n    class ModelNew: pass\n", 1, "ModelNew", id="class-in-a-function"),
        pytest.param("class ModelNew: pass\n\0", 1, "null bytes", id="null-byte"),
        pytest.param("x = '\ud800'" + MODEL, 1, "parse", id="lone-surrogate"),
        pytest.param("(" * 5000, 1, "parentheses", id="parentheses"),
        pytest.param("-" * 100000 + "1", 1, "parse", id="unary-signs"),
        pytest.param("x = 1" + " + 1" * 50000, 1, "recursion", id="long-sum"),
        pytest.param("x = y" + ".a" * 50000, 1, "recursion", id="long-chain"),
        pytest.param("".join(" " * i + "if 1:\n" for i in range(120)), 101, "indentation", id="indentation"),
    ],
)
def test_text_that_is_no_candidate_is_a_compile_error(source: str, line: int, says: str) -> None:
    finding = judge_source(source)
    assert finding is not None
    assert finding.verdict is Verdict.COMPILE_ERROR
    assert finding.reason.startswith(f"line {line}: ")
    assert says in finding.reason


def test_no_candidate_outweighs_a_broken_rule() -> None:
    finding = judge_source("import os\n")
    assert finding is not None
    assert finding.verdict is Verdict.COMPILE_ERROR
    assert {violation.rule for violation in finding.violations} == {Rule.IMPORT, Rule.MODEL_CLASS}


def test_source_over_the_limit_is_rejected_unparsed() -> None:
    finding = judge_source("(" * (1 << 20))
    assert finding is not None
    assert finding.verdict is Verdict.REJECTED
    assert str(MAX_SOURCE_BYTES) in finding.reason


def test_size_counts_bytes_not_characters() -> None:
    comment = "# " + "µ" * (MAX_SOURCE_BYTES // 2) + "\n"
    assert [violation.rule for violation in check_source(comment + MODEL)] == [Rule.SIZE]


def test_source_just_under_the_limit_is_judged() -> None:
    padding = "x = f(1, 2)\n" * ((MAX_SOURCE_BYTES - 100) // 12)
    assert judge_source(padding + MODEL) is None
    assert judge_source(padding + "import os\n" + MODEL) is not None


def test_violations_come_in_order_and_not_without_end() -> None:
    found = check_source("import os\n" * 1000 + MODEL)
    assert len(found) == MOST_VIOLATIONS
    assert [violation.line for violation in found] == list(range(1, MOST_VIOLATIONS + 1))


def test_reason_says_how_many_more() -> None:
    finding = judge_source("import os\nimport sys\n" + MODEL)
    assert finding is not None
    assert finding.reason.startswith("line 1: import of os: it reaches the operating system")
    assert finding.reason.endswith("(and 1 more)")


PIECES = (
    "import from torch . os as x = ( ) [ ] { } : \n \t def class ModelNew lambda getattr 'a' f'{x}' __globals__ #"
    " coding: \0 \ud800 + * , @ match case if for in with del type super \\ ' \" 1 async await"
)


@given(
    st.text()
    | st.lists(st.sampled_from(PIECES.split(" "))).map(" ".join)
    | st.binary().map(lambda raw: raw.decode("latin-1"))
)
def test_any_text_gives_a_finding_or_none(source: str) -> None:
    finding = judge_source(source)
    if finding is not None:
        assert finding.verdict in (Verdict.COMPILE_ERROR, Verdict.REJECTED)
        assert finding.reason
        assert all(violation.line >= 1 for violation in finding.violations)


def test_judging_is_repeatable() -> None:
    source = "import os, sys\nimport torch\ntorch.os\n" + MODEL
    assert judge_source(source) == judge_source(source)
