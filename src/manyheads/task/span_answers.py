"""Answers that are parts of the context: where each starts and where it ends."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from manyheads.batch import IGNORE, Batch
from manyheads.data.examples import Collate
from manyheads.data.source import SPLITS, Source
from manyheads.errors import UserError, check_range
from manyheads.head.base import Head
from manyheads.head.span import MATCH, Span, inside
from manyheads.metric.loss import Loss
from manyheads.metric.squad import Answer
from manyheads.metric.squad2 import BestF1Threshold
from manyheads.task import answers
from manyheads.task.answers import Gold
from manyheads.task.questions import Questions
from manyheads.task.spans import NOWHERE, Tokens, batch_of, best_spans, folded, in_window, located, tokens_of, windows
from manyheads.tokenizer.base import Tokenizer

EVEN = 0.5
"""The threshold where no validation split was scored: an answer is given when its score is not below that of none."""

READS_TYPES = "bidirectional"
"""The kind of network that reads `token_types`."""

THERE, ELSEWHERE, ABSENT = range(3)
"""Where the first gold answer of a row is: at its answer_start, at another place of the context, or not in it."""


class Window(NamedTuple):
    """What the network finds in a window of a row."""

    score: float  # logits of start and end of the best span; -inf where there is none
    first: int  # position of its first token
    last: int
    none: float  # logits of no answer


@final
class SpanAnswers(Questions):
    """The answer to a question is a part of its context, or there is none.

    A window is the end token, the question, the end token and the context, or as much of it as there is room for; a long
    context is read in several, which overlap. Each is trained on the place of the first gold answer, or on that of no
    answer where it does not have all of it. The answer of a row is the best span of all its windows, and the score of no
    answer the lowest of theirs, as in BERT's recipe for SQuAD v2.0 (google-research/bert, run_squad.py).

    Args:
        source, tokenizer, seed, batch_size, eval_batch_size, num_workers, shuffle: see `ExampleTask`.
        kind: of the network.
        max_tokens: of a window.
        stride: tokens from the beginning of a window's part of the context to that of the next.
        max_answer_tokens: of an output.
        unanswerable: whether a question may have no answer; None: whether one has none, in any split.
        threshold: the probability of no answer above which nothing is answered; None: the one with the best F1 on
            validation, 0.5 where that is not scored.
        match: whether tokens of the context that the question has too, whatever their case, are of a token type of their
            own, which the network then learns (Chen et al. 2017, section 3.2, "exact match").

    Raises:
        UserError: a number is out of range; rows are not in SQuAD's schema; a question has no answer where each should;
            a question leaves no room for its context.
    """

    heads = frozenset({"Span"})
    metrics = (Loss,)
    monitor = "val/f1"
    columns = ("tokens",)

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
        max_tokens: int = 384,
        stride: int = 128,
        max_answer_tokens: int = 30,
        unanswerable: bool | None = None,
        threshold: float | None = None,
        match: bool = False,
    ) -> None:
        super().__init__(
            source=source, tokenizer=tokenizer, seed=seed, batch_size=batch_size, eval_batch_size=eval_batch_size,
            num_workers=num_workers, shuffle=shuffle,
        )  # fmt: skip
        check_range("task.max_tokens", max_tokens, 4)
        check_range("task.stride", stride, 1)
        check_range("task.max_answer_tokens", max_answer_tokens, 1)
        if threshold is not None:
            check_range("task.threshold", threshold, 0, 1)
        self.max_tokens = max_tokens
        self.stride = stride
        self.max_answer_tokens = max_answer_tokens
        self.unanswerable = answers.has_unanswerable(source) if unanswerable is None else unanswerable
        self.threshold = EVEN if threshold is None else threshold
        self._finds_threshold = threshold is None
        if match and kind != READS_TYPES:
            raise UserError(
                f"task.match=true: a {kind} network does not read types of tokens. Set model=encoder, or task.match=false."
            )
        self._folded = folded(tokenizer) if match else None
        self.output_metrics = answers.metrics_of(self.unanswerable)

    @property
    def recipe(self) -> list[Any]:
        return [self.max_tokens, self.stride, self.unanswerable]

    @property
    def found(self) -> dict[str, dict[str, Any]]:
        return super().found if self._folded is None else {**super().found, "model": {"token_types": MATCH + 1}}

    def prepare(self, splits: Iterable[str] = SPLITS) -> None:
        """Makes the windows of the splits. Raises UserError when train has no answer."""
        splits = list(splits)
        super().prepare(splits)
        if "train" in splits and not (self._spans("train") > 0).any():
            raise UserError(
                f"data ({self.source.name}): no answer of train stands in its context. Set data.columns.context and "
                "data.columns.answers to the columns that belong together."
            )

    def encode(self, rows: Mapping[str, list[Any]]) -> Mapping[str, Sequence[Sequence[int]]]:
        questions, contexts = answers.questions_of(rows), answers.contexts_of(rows)
        golds = answers.golds_of(rows, self.unanswerable) if "answers" in rows else [None] * len(questions)
        encoded = zip(self.tokenizer.encode_batch(questions), tokens_of(self.tokenizer, contexts), strict=True)
        columns: dict[str, list[Sequence[int]]] = {name: [] for name in ("tokens", "starts", "ends", "row")}
        if "answers" in rows:
            columns |= {"span": [], "found": []}
        for row, (question, context) in enumerate(encoded):
            before = [self.tokenizer.end_id, *question, self.tokenizer.end_id]
            parts = windows(len(context.ids), self._room(len(before)), self.stride)
            for part in parts:
                columns["tokens"].append([*before, *context.ids[part.start : part.stop]])
                columns["starts"].append(context.starts[part.start : part.stop].tolist())
                columns["ends"].append(context.ends[part.start : part.stop].tolist())
                columns["row"].append([row])
            if (gold := golds[row]) is not None:
                found, spans = self._taught(contexts[row], context, gold, parts, len(before))
                columns["span"] += spans
                columns["found"] += [[found], *([] for _ in parts[1:])]  # one for each row
        return columns

    def _room(self, taken: int) -> int:
        """How many tokens of a context a window has beside a question. Raises UserError for none."""
        if taken >= self.max_tokens:
            raise UserError(
                f"task.max_tokens={self.max_tokens}: a question of {taken - 2} tokens leaves no room for its context. Set "
                f"task.max_tokens={taken + self.stride} or more, or leave out the row."
            )
        return self.max_tokens - taken

    def _taught(
        self, text: str, context: Tokens, golds: list[Gold], parts: list[range], shift: int
    ) -> tuple[int, list[tuple[int, int]]]:
        """Where the first gold answer is found, and the span that each window is trained on; IGNORE where none can be."""
        if not golds:
            return THERE, [NOWHERE] * len(parts)
        start = located(text, golds[0].text, golds[0].start)
        span = None if start is None else context.span(start, start + len(golds[0].text))
        if span is None:
            return ABSENT, [(IGNORE, IGNORE)] * len(parts)
        return THERE if start == golds[0].start else ELSEWHERE, [in_window(span, part, shift) for part in parts]

    def told(self, split: str) -> list[str]:
        store, said = self.store(split), []
        if (cut := len(np.unique(store.rows[1:][np.diff(store.rows) == 0]))) > 0:
            said.append(
                f"{cut:,} of {store.num_rows:,} contexts of {split} do not fit into task.max_tokens={self.max_tokens}: they "
                f"are read in windows, {len(store):,} in all"
            )
        if "span" not in store.columns:
            return said
        found, spans = store["found"].values, self._spans(split)
        if elsewhere := int((found == ELSEWHERE).sum()):
            said.append(
                f"{elsewhere:,} answers of {split} do not stand at their answer_start: the nearest place was taken"
            )
        if absent := int((found == ABSENT).sum()):
            said.append(
                f"{absent:,} answers of {split} do not stand in their context: they are scored, and not learned"
            )
        if longer := int((spans[:, 1] - spans[:, 0] >= self.max_answer_tokens).sum()):
            said.append(
                f"answers in {longer:,} windows of {split} are longer than task.max_answer_tokens={self.max_answer_tokens}: "
                "they cannot be given whole"
            )
        return said

    def members(self, split: str) -> NDArray[np.int64]:
        """The windows that are trained on, those whose answer is found; or scored, all."""
        everyone = super().members(split)
        return everyone[self._spans(split)[:, 0] != IGNORE] if split == "train" else everyone

    def _spans(self, split: str) -> NDArray[np.int32]:
        return self.store(split)["span"].values.reshape(-1, 2)

    def collate(self, scoring: bool) -> Collate:
        return functools.partial(batch_of, end_id=self.tokenizer.end_id, folds=self._folded)

    def read(self, network: nn.Module, head: Head, batch: Batch, hidden: Tensor) -> list[Window]:
        """What is found in each window."""
        starts, ends = cast(Span, head).span_logits(hidden, batch)
        best = best_spans(starts, ends, inside(batch), self.max_answer_tokens)
        none = starts[:, 0] + ends[:, 0]
        found = (best.scores.double(), best.firsts, best.lasts, none.double())
        return [Window(*values) for values in zip(*(one.tolist() for one in found), strict=True)]

    def joined(self, split: str, outputs: Mapping[int, Any]) -> Mapping[int, Answer]:
        """The answer of each row: the best span of all its windows, of equals that of the first window."""
        store, best, none = self.store(split), {}, {}
        for example in sorted(outputs):
            row, window = int(store.rows[example]), outputs[example]
            none[row] = min(none.get(row, math.inf), window.none)
            if row not in best or window.score > outputs[best[row]].score:
                best[row] = example
        chosen = sorted(best)
        contexts = answers.contexts_of(self.source.rows(split)[chosen]) if chosen else []
        return {
            row: self._answer(split, best[row], outputs[best[row]], none[row], context)
            for row, context in zip(chosen, contexts, strict=True)
        }

    def _answer(self, split: str, example: int, window: Window, none: float, context: str) -> Answer:
        """The context's own characters, from the first token's first to the last token's last, without white space around."""
        if window.score == -math.inf:
            return Answer("", 1.0)
        starts, ends, tokens = (self.store(split)[name][example] for name in ("starts", "ends", "tokens"))
        shift = len(tokens) - len(starts)
        start, end = int(starts[window.first - shift]), int(ends[window.last - shift])
        text = context[start:end]
        start += len(text) - len(text.lstrip())
        difference = none - window.score
        return Answer(text.strip(), _logistic(difference), start, window.score, difference)

    def scores(self, split: str, outputs: Mapping[int, Any]) -> dict[str, float]:
        """The scores of a split; validation first finds the threshold, which those of test are computed with."""
        if split == "validation" and self.unanswerable and self._finds_threshold:
            found = self.joined(split, outputs)
            chosen, targets = self.held_to(split, found)
            self.threshold = BestF1Threshold().score([found[row] for row in chosen], targets) if chosen else EVEN
        return super().scores(split, outputs)

    def shown(self, output: Any) -> Any:
        """What is answered at the threshold, and where; where there may be no answer, also the best span in any case."""
        if not isinstance(output, Answer):
            return output
        told = {"text": output.text, "start": output.start, "score": output.score}
        if not self.unanswerable:
            return told
        text = "" if output.no_answer > self.threshold else output.text
        more = {"span": output.text, "no_answer": output.no_answer, "difference": output.difference}
        return {**told, "text": text, **more}


def _logistic(value: float) -> float:
    """1 / (1 + exp(-value)), without overflow."""
    return math.exp(min(value, 0.0)) / (1 + math.exp(-abs(value)))
