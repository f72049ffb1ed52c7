"""Templates of the prompt library: variables, conditions, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.prompts.template import MAX_DEPTH, MAX_RENDERED, BadTemplate, parse_template


def test_variables_are_filled_and_named_in_their_order() -> None:
    template = parse_template("Review {{ file }} for {{who}}; {{file}} again")
    assert template.names == ("file", "who")
    assert template.fill({"file": "a.py", "who": "ann"}) == "Review a.py for ann; a.py again"
    assert template.fill({"file": "a.py"}) == "Review a.py for ; a.py again"


def test_a_condition_holds_where_its_variable_says_something() -> None:
    template = parse_template("{{#if a}}with {{a}}{{else}}without{{/if}}!")
    assert template.fill({"a": "x"}) == "with x!"
    assert template.fill({}) == template.fill({"a": " \n"}) == "without!"
    assert template.optional == {"a"}


def test_conditions_lie_in_each_other() -> None:
    template = parse_template("{{#if a}}1{{#if b}}2{{else}}3{{/if}}4{{/if}}5")
    assert [template.fill(values) for values in ({}, {"a": "x"}, {"a": "x", "b": "x"})] == ["5", "1345", "1245"]


def test_a_condition_alone_on_its_line_leaves_no_empty_line() -> None:
    template = parse_template("first\n  {{#if a}}\nsecond\n{{else}}\nother\n{{/if}}\nlast\n")
    assert template.fill({"a": "x"}) == "first\nsecond\nlast\n"
    assert template.fill({}) == "first\nother\nlast\n"


def test_two_braces_can_be_written_and_other_braces_stay() -> None:
    assert parse_template('\\{{x}} {"a": {"b": 1}}').fill({}) == '{{x}} {"a": {"b": 1}}'


@given(st.text(), st.text())
def test_what_is_filled_in_is_never_read_as_a_template(before: str, value: str) -> None:
    before = before.replace("{", "(").replace("\\", "/")
    assert parse_template(before + "{{a}}{{#if a}}{{/if}}").fill({"a": value}) == before + value
    assert parse_template("{{a}}{{b}}").fill({"a": "{{b}}" + value, "b": "1"}) == "{{b}}" + value + "1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{#if a}}x", "line 1: {{#if a}} has no {{/if}}"),
        ("a\n{{/if}}", "line 2: {{/if}} has no"),
        ("{{else}}", "{{else}} has no"),
        ("{{#if a}}{{else}}{{else}}{{/if}}", "{{else}} has no"),
        ("{{a b}}", "is no variable"),
        ("{{}}", "is no variable"),
        ("{{../x}}", "is no variable"),
        ("{{{a}}}", "for the two characters themselves"),
        ("x {{a", "for the two characters themselves"),
        ("{{#each a}}", "is no variable"),
        ("{{#if a}}" * (MAX_DEPTH + 1), f"deeper than {MAX_DEPTH}"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(BadTemplate) as caught:
        parse_template(text)
    assert said in str(caught.value)


def test_a_filled_text_has_a_bound() -> None:
    template = parse_template("{{a}}" * 1_000)
    assert len(template.fill({"a": "x" * (MAX_RENDERED // 1_000)})) <= MAX_RENDERED
    with pytest.raises(BadTemplate, match="longer than"):
        template.fill({"a": "x" * 1_000})


@given(st.text(alphabet="{}#/if else\\a\n ", max_size=200))
def test_any_text_is_a_template_or_is_refused(text: str) -> None:
    try:
        template = parse_template(text)
    except BadTemplate:
        return
    template.fill(dict.fromkeys(template.names, "1"))
