"""Keys: where they are found, and that they stay where they are."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from everforge.agents.llm.api_key import ApiKeySource, ambient_secrets
from everforge.agents.llm.redact import ERROR_CHARS_LIMIT, MARK, Redactor
from everforge.errors import UsageError

KEY = "sk-test-0123456789abcdef"


def key_of(source: ApiKeySource, environ: dict[str, str]) -> str | None:
    found = source.read("openai", environ)
    return None if found is None else found.get_secret_value()


def test_key_file_goes_before_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    assert key_of(ApiKeySource(file=file), {"EVERFORGE_API_KEY": "other-key-123"}) == KEY


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"EVERFORGE_API_KEY": "ours", "OPENAI_API_KEY": "theirs"}, "ours"),
        ({"OPENAI_API_KEY": "theirs"}, "theirs"),
        ({"EVERFORGE_API_KEY": " ", "OPENAI_API_KEY": "theirs"}, "theirs"),
        ({"ANTHROPIC_API_KEY": "of another provider"}, None),
        ({}, None),
    ],
)
def test_own_variable_goes_before_the_providers(environ: dict[str, str], expected: str | None) -> None:
    assert key_of(ApiKeySource(), environ) == expected


def test_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        ApiKeySource(file=tmp_path / "nowhere").read("openai", {})


@pytest.mark.parametrize("text", ["", "two words", "line\nbreak", "ключ"])
def test_text_that_cannot_be_a_key_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        ApiKeySource(file=file).read("openai", {})
    assert not text or text not in str(caught.value)


def test_key_does_not_show_in_representations() -> None:
    found = ApiKeySource().read("openai", {"OPENAI_API_KEY": KEY})
    assert isinstance(found, SecretStr)
    assert KEY not in f"{found!r} {found}"


def test_credentials_of_the_environment_are_known_as_secrets() -> None:
    environ = {"AWS_SESSION_TOKEN": "t" * 20, "MODE_KEY": "production", "PATH": "/usr/local/bin:/usr/bin"}
    assert ambient_secrets(environ) == ("t" * 20,)


@given(before=st.text(), after=st.text(), key=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=8))
def test_secret_leaves_no_trace_in_any_text(before: str, after: str, key: str) -> None:
    redactor = Redactor([key])
    assert key not in redactor.text(before + key + after).replace(MARK, " ")
    assert key not in redactor.error(before + key + after).replace(MARK, " ")


def test_secret_is_found_url_encoded_too() -> None:
    assert Redactor(["a/b+c=d/e/f"]).text("GET /?key=a%2Fb%2Bc%3Dd%2Fe%2Ff") == f"GET /?key={MARK}"


def test_placeholder_key_does_not_blank_out_words() -> None:
    assert Redactor(["none"]).text("return none") == "return none"


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-proj-AbCdEfGhIjKlMnOp",
        "headers: {'Authorization': 'Bearer abc.def.ghi'}",
        "POST /v1?api_key=abcdef0123&x=1",
        '{"x-api-key": "abcdef0123"}',
    ],
)
def test_what_looks_like_a_credential_goes_from_error_texts(text: str) -> None:
    said = Redactor([]).error(text)
    assert MARK in said
    for secret in ("AbCdEf", "abc.def", "abcdef0123"):
        assert secret not in said


def test_error_text_is_one_bounded_line() -> None:
    said = Redactor([]).error("first\nsecond\x1b[31m " + "x" * 10_000)
    assert said.startswith("first second")
    assert "\n" not in said
    assert len(said) < ERROR_CHARS_LIMIT + 40
