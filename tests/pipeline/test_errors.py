"""Sentences about broken rules."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, ValidationError, field_validator

from pipeline.errors import UsageError, broken_rule


class _Order(BaseModel):
    colour: Literal["red", "green"] = "red"
    count: int = 1

    @field_validator("count")
    @classmethod
    def _is_odd(cls, count: int) -> int:
        if count % 2 == 0:
            raise ValueError(f"{count} is even")
        return count


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"colour": "grean"}, "input should be 'red' or 'green' (did you mean 'green'?)"),
        ({"colour": "violet"}, "input should be 'red' or 'green'"),
        ({"colour": 3}, "input should be 'red' or 'green'"),
        ({"count": 2}, "2 is even"),
    ],
)
def test_a_broken_rule_is_a_sentence(content: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError) as raised:
        _Order.model_validate(content)
    assert broken_rule(raised.value.errors()[0]) == sentence


def test_a_message_that_quotes_a_long_value_keeps_its_ends() -> None:
    told = str(UsageError(f"file, line 3: found {'x' * 1_000_000}; write a number"))
    assert told.startswith("file, line 3: found xxx")
    assert told.endswith("xxx; write a number")
    assert "letters left out" in told
    assert len(told) < 5_000
    assert str(UsageError("y" * 6_000)) == "y" * 6_000
