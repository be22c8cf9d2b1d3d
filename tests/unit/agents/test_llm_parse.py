"""Code out of replies: every way models wrap it, and anything else without an exception."""

import html
import textwrap
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everforge.agents.llm.parse import REPLY_CHARS_LIMIT, SOURCE_CHARS_LIMIT, declaration, extract

CODE = '''\
import torch
from torch import nn


class ModelNew(nn.Module):
    """Doubles.

    ```python
    ModelNew()(x)
    ```
    """

    def forward(self, x):
        return x + x if x.ndim > 1 else x
'''
OTHER = "class Draft:\n    pass\n"


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(f"```python\n{CODE}```", id="python"),
        pytest.param(f"```\n{CODE}```", id="no tag"),
        pytest.param(f"```Python3 title=kernel.py\n{CODE}```\nDone.", id="other tag and attributes"),
        pytest.param(f"~~~py\n{CODE}~~~", id="tildes"),
        pytest.param(f"`````md\n{CODE}`````", id="long fence"),
        pytest.param(f"Here it is: ```python\n{CODE}```", id="fence behind prose"),
        pytest.param(f"```python\n{CODE.rstrip()}```", id="closing fence behind code"),
        pytest.param(f"1. Do:\n\n   ```python\n{textwrap.indent(CODE, '   ')}   ```", id="indented in a list"),
        pytest.param(f"```python\n{CODE}", id="unclosed"),
        pytest.param(CODE, id="code alone"),
        pytest.param(f"From the profile we see it waits.\n\n{CODE}\nThat is, twice as fast!", id="prose around"),
        pytest.param(f"```python\n{OTHER}```\n```python\n{CODE}```\n```\n$ run\n```", id="several blocks"),
        pytest.param(f"```python\nclass ModelNew: pass\n```\nBetter:\n```python\n{CODE}```", id="the last one"),
        pytest.param(f"```python\n{CODE}```\n```python\nclass ModelNew(nn.\n```", id="the last complete one"),
        pytest.param(f"```python\nclass ModelNew(\n```python\n{CODE}```", id="first fence never closed"),
        pytest.param(f"<think>\n```python\nclass ModelNew: pass\n</think>\n```\n{CODE}```", id="after thoughts"),
        pytest.param(f"```python\nclass ModelNew: 1\n```\n</think>\n```\n{CODE}```", id="lone closing thought"),
        pytest.param(f"\ufeff```python\n{CODE}```".replace("\n", "\r\n"), id="CRLF and BOM"),
        pytest.param(f"```python\n{html.escape(CODE)}```", id="HTML-escaped"),
    ],
)
def test_code_is_found(reply: str) -> None:
    assert extract(reply).source == CODE


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "the reply was empty"),
        (" \n", "the reply was empty"),
        ("I cannot help with that.", "contains no code"),
        (f"```python\n{OTHER}```", "no fenced block defines class ModelNew"),
        ("Then class ModelNew follows.\n\nclass ModelNew is next", "not in a fenced block"),
        (f"<think>\n```python\n{CODE}```\n", "inside the thinking section"),
        ("```python\nclass ModelNew(nn.Module):\n    def forward(", "cut off"),
        ("```python\nclass ModelNew:\n    x = '\0'\n```", "NUL"),
        (f"```python\nclass ModelNew:\n    '{'x' * SOURCE_CHARS_LIMIT}'\n```", "characters"),
    ],
)
def test_reply_without_usable_code_says_what_is_missing(reply: str, reason: str) -> None:
    found = extract(reply)
    assert found.source is None
    assert found.reason is not None
    assert reason in found.reason


def test_code_that_does_not_parse_is_left_to_the_evaluation() -> None:
    broken = "class ModelNew(nn.Module:\n    pass\n"
    assert extract(f"```python\n{broken}```").source == broken


def test_code_that_does_not_parse_in_a_reply_cut_off_is_not_a_candidate() -> None:
    found = extract("```python\nclass ModelNew(nn.Module:\n    pass\n```\nAnd then", cut_off=True)
    assert found.source is None


def test_escapes_that_python_warns_of_are_no_reason_to_refuse() -> None:
    code = 'class ModelNew:\n    pattern = "\\d"\n'
    assert extract(f"```python\n{code}```").source == code


@given(st.text())
def test_any_text_gives_a_source_or_a_reason(reply: str) -> None:
    found = extract(reply)
    assert (found.source is None) != (found.reason is None)
    declaration(reply)


PIECES = st.sampled_from(
    ["```", "```python", "~~~", "````", "<think>", "</think>", "class ModelNew:", "    x = 1", "(", '"""', "\0", "&lt;"]
)


@given(st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=24), st.booleans())
def test_any_mixture_of_fences_and_code_gives_a_source_or_a_reason(pieces: list[str], cut_off: bool) -> None:
    found = extract("\n".join(pieces), cut_off)
    assert (found.source is None) != (found.reason is None)


PROSE = st.text(st.characters(exclude_characters="`~<", exclude_categories=("Cs",)), max_size=300)


@given(before=PROSE, after=PROSE, fence=st.sampled_from(["```", "~~~", "`````"]), tag=st.sampled_from(["", "python"]))
def test_code_survives_any_prose_around_its_fence(before: str, after: str, fence: str, tag: str) -> None:
    assert extract(f"{before}\n{fence}{tag}\n{CODE}{fence}\n{after}").source == CODE


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param("`" * 10_000_000, id="backticks"),
        pytest.param(("`" * 99 + "a") * 100_000, id="runs of backticks"),
        pytest.param("```\n" * 2_500_000, id="fences"),
        pytest.param("```\nclass ModelNew(:\n```\n" * 400_000, id="broken blocks"),
        pytest.param("class ModelNew:\n" * 600_000, id="headers"),
        pytest.param("import x\n" * 1_000_000 + "class ModelNew(:\n", id="imports"),
        pytest.param("<think>" * 1_500_000, id="thoughts"),
        pytest.param("```python\nclass ModelNew: x = " + "-" * 10_000_000, id="nesting"),
        pytest.param("x" * 10_000_000, id="one word"),
    ],
)
def test_ten_megabytes_take_bounded_time(reply: str) -> None:
    """10 s of this process's own time is five times what the worst of them needs on a busy machine."""
    before_s = time.process_time()
    found = extract(reply)
    declaration(reply)
    assert time.process_time() - before_s < 10.0
    assert len(found.source or found.reason or "") < REPLY_CHARS_LIMIT


def test_declaration_is_read_from_the_prose_before_the_code() -> None:
    said = declaration("**Strategy:** online softmax\n- Rewrites: fold the scale; skip the max\n```\nstrategy: x\n```")
    assert said.strategy == "online softmax"
    assert said.rewrites == ("fold the scale", "skip the max")


@pytest.mark.parametrize("reply", ["```python\nx\n```", "Rewrites: none", "Rewrites: None.", ""])
def test_nothing_declared_is_empty(reply: str) -> None:
    assert declaration(reply).rewrites == ()
    assert declaration(reply).strategy == ""
