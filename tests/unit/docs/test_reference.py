"""The generated reference says what the model says."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

GENERATOR = Path(__file__).parents[3] / "docs" / "generate.py"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_reference_and_schemas_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, GENERATOR, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}run python docs/generate.py"


def test_every_field_of_a_page_has_a_row(generate: ModuleType) -> None:
    for page in generate.PAGES:
        text = "\n".join(generate.page_lines(page, page.schema()))
        for field in page.schema()["properties"]:
            assert f"| `{field}` |" in text


def test_every_link_of_a_page_leads_to_a_section(generate: ModuleType) -> None:
    for page in generate.PAGES:
        schema = page.schema()
        text = "\n".join(generate.page_lines(page, schema))
        headings = {line.removeprefix("## ").lower() for line in text.splitlines() if line.startswith("## ")}
        linked = {part.partition(")")[0] for part in text.split("](#")[1:]}
        assert linked <= headings


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ({"type": "array", "items": {"type": "string"}}, "list of text"),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "number or null"),
        ({"type": "object", "additionalProperties": {"$ref": "#/$defs/Spend"}}, "text → [Spend](#spend)"),
        ({"const": "v1"}, "`v1`"),
        ({}, "any"),
    ],
)
def test_types_are_said_in_words(generate: ModuleType, field: dict[str, object], text: str) -> None:
    assert generate.type_text(field) == text
