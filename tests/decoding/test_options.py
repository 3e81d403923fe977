"""Guards settings that are out of range or do not go together, and what they make of a tokenizer."""

from typing import Any

import pytest

from manyheads.decoding.options import Options, OptionValues
from manyheads.errors import UserError
from manyheads.testing import byte_tokenizer


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens=0: set a whole number of at least 1."),
        ({"num_samples": 0}, "num_samples=0: set a whole number of at least 1."),
        ({"batch_size": -1}, "batch_size=-1: set a whole number of at least 1."),
        ({"context": 0}, "context=0: set a whole number of at least 1."),
        ({"seed": "x"}, "seed=x: set a whole number of at least 0."),
        ({"top_k": 0}, "top_k=0: set a whole number of at least 1."),
        ({"stop": ["", "a"]}, "stop=['', 'a']: set texts of at least one character."),
        ({"stop": 5}, "stop=5: set a text or a list of texts."),
        ({"temperature": -1}, "temperature=-1: set a number of at least 0."),
        ({"num_beams": 0}, "num_beams=0: set a whole number of at least 1."),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram=-1: set a whole number of at least 0."),
        ({"num_beams": 2, "early_stopping": "soon"}, "early_stopping=soon: set true, false or never."),
        ({"choices": []}, "choices=[]: set a list of at least one text."),
        ({"regex": ""}, "regex=: set a regular expression, in quotes."),
        # two that do not go together
        ({"length_penalty": 2}, "length_penalty=2 is for beams: set num_beams to at least 2, or leave it out."),
        ({"early_stopping": True}, "early_stopping=true is for beams: set num_beams to at least 2, or leave it out."),
        (
            {"num_beams": 4, "temperature": 0.5},
            "temperature=0.5 does not go with num_beams=4, which draws nothing: set temperature=0, or leave it out.",
        ),
        ({"num_beams": 4, "top_k": 5}, "top_k=5 does not go with num_beams=4: leave one of them out."),
        ({"num_beams": 4, "top_p": 0.5}, "top_p=0.5 does not go with num_beams=4: leave one of them out."),
        ({"num_beams": 4, "min_p": 0.5}, "min_p=0.5 does not go with num_beams=4: leave one of them out."),
        (
            {"num_beams": 4, "repetition_penalty": 2},
            "repetition_penalty=2 does not go with num_beams=4: leave one of them out.",
        ),
        ({"num_beams": 4, "stop": "a"}, "stop=a does not go with num_beams=4: leave one of them out."),
        (
            {"num_beams": 4, "num_samples": 5},
            "num_samples=5 is more than num_beams=4: set at most as many as there are beams.",
        ),
        ({"choices": ["a"], "regex": "a"}, "regex=a does not go with choices=['a']: leave one of them out."),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Options(**options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 4, "temperature": 0, "num_samples": 4, "early_stopping": "never", "length_penalty": 0},
        {"num_beams": 4, "stop": [], "temperature": None},
        {"temperature": None, "choices": ["a"], "top_k": 2},
    ],
)
def test_options_that_go_together_are_taken(options: dict[str, Any]) -> None:
    Options(**options)


def test_a_choice_needs_room_for_its_end() -> None:
    """Cut off, it would be no choice, and its score would lack the end."""
    with pytest.raises(UserError) as caught:
        Options(choices=["a", "abc"], max_new_tokens=3).constraint(byte_tokenizer())
    assert str(caught.value) == ("max_new_tokens=3: a choice of 3 tokens and its end have no room; set at least 4.")
    assert Options(choices=["a", "abc"], max_new_tokens=4).constraint(byte_tokenizer()) is not None
    assert Options().constraint(byte_tokenizer()) is None


def test_the_keyword_arguments_of_python_are_the_options() -> None:
    """They are written twice, for type checkers; this keeps them one."""
    hints = {name: field.type for name, field in Options.__dataclass_fields__.items() if name != "num_samples"}
    found = {name: getattr(hint, "__forward_arg__", hint) for name, hint in OptionValues.__annotations__.items()}
    assert found == hints
