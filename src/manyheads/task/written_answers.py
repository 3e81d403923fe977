"""Answers that a network writes, one token after the other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

from manyheads.data.source import Source
from manyheads.errors import UserError
from manyheads.task import answers
from manyheads.task.questions import Questions
from manyheads.task.text_to_text import TextToText
from manyheads.tokenizer.base import Tokenizer

PLACES: tuple[str, ...] = ("{question}", "{context}")
CERTAIN = 1.0
"""The threshold of answers that say themselves, by a text or an empty one, whether there is one."""


@final
class WrittenAnswers(Questions, TextToText):
    """The answer to a question about a context, in the network's own words; the empty text where there is none.

    The first gold answer is learned, and all are scored.

    Args: see `TextToText`, and
        unanswerable: whether a question may have no answer; None: whether one has none, in any split.
        template: what is read, with {question} and {context} where they stand; by default that of Raffel et al. 2020,
            appendix D.15. Its end is left out where it is too long, so the context stands last.
    """

    source_field = "question"
    target_field = "answers"
    never_empty = frozenset()

    def __init__(
        self,
        *,
        source: Source,
        tokenizer: Tokenizer,
        seed: int,
        kind: str,
        batch_size: int = 16,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        shuffle: bool = True,
        unanswerable: bool | None = None,
        template: str = "question: {question} context: {context}",
        max_source_tokens: int = 384,
        max_target_tokens: int = 32,
        prompt: str = "{source}\nanswer:",
        num_beams: int = 1,
        length_penalty: float = 1.0,
        early_stopping: bool | Literal["never"] = False,
        no_repeat_ngram: int = 0,
        choices: Sequence[str] | None = None,
        regex: str | None = None,
    ) -> None:
        super().__init__(
            source=source, tokenizer=tokenizer, seed=seed, kind=kind, batch_size=batch_size,
            eval_batch_size=eval_batch_size, num_workers=num_workers, shuffle=shuffle,
            max_source_tokens=max_source_tokens, max_target_tokens=max_target_tokens, prompt=prompt,
            num_beams=num_beams, length_penalty=length_penalty, early_stopping=early_stopping,
            no_repeat_ngram=no_repeat_ngram, choices=choices, regex=regex,
        )  # fmt: skip
        if any(template.count(place) != 1 for place in PLACES):
            raise UserError(f"task.template={template}: write {' and '.join(PLACES)} once, where they stand.")
        self.template = template
        self.unanswerable = answers.has_unanswerable(source) if unanswerable is None else unanswerable
        self.output_metrics = answers.metrics_of(self.unanswerable)
        self.threshold = CERTAIN

    @property
    def recipe(self) -> list[Any]:
        return [*super().recipe, self.template, self.unanswerable]

    def sources(self, rows: Mapping[str, list[Any]]) -> list[str]:
        """Each question and its context, in the template."""
        parts = re.split(f"({'|'.join(map(re.escape, PLACES))})", self.template)
        pairs = zip(answers.questions_of(rows), answers.contexts_of(rows), strict=True)
        filled = [dict(zip(PLACES, pair, strict=True)) for pair in pairs]
        return ["".join(texts.get(part, part) for part in parts) for texts in filled]

    def target_texts(self, rows: Mapping[str, list[Any]]) -> list[str]:
        """The first gold answer of each row, or nothing."""
        return [golds[0].text if golds else "" for golds in answers.golds_of(rows, self.unanswerable)]

    def shown(self, output: Any) -> Any:
        return output
