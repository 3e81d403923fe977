"""Question answering: the task that fits the head, a part of the context (`head=span`) or a text (`head=next_token`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from manyheads.data.source import Source
from manyheads.marks import builder
from manyheads.task.base import Task
from manyheads.task.forms import declare, form_of
from manyheads.task.span_answers import SpanAnswers
from manyheads.task.written_answers import WrittenAnswers
from manyheads.tokenizer.base import Tokenizer

FORMS: dict[str, type[Task]] = {"spans": SpanAnswers, "labels": WrittenAnswers}
"""By what the head reads of a batch."""


@builder
def qa(
    *,
    source: Source,
    tokenizer: Tokenizer,
    seed: int,
    kind: str,
    reads: str,
    batch_size: int = 16,
    eval_batch_size: int | None = None,
    num_workers: int = 0,
    shuffle: bool = True,
    unanswerable: bool | None = None,
    max_tokens: int = 384,
    stride: int = 128,
    max_answer_tokens: int = 30,
    threshold: float | None = None,
    match: bool = False,
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
) -> Task:
    """Answers to questions about a context, in SQuAD's schema: context, question, answers {text: [...], answer_start: [...]}.

    Where every question has an answer, the scores are those of SQuAD v1.1: exact_match and f1. Where questions may have
    none, they are those of v2.0: exact, f1, has_ans_* and no_ans_*, and the threshold that they were computed with.

    Args:
        source, tokenizer, seed: where rows come from, what makes tokens of them, what their order is made from.
        kind, reads: of the network, and what its head reads.
        batch_size: examples in a training batch, per device.
        eval_batch_size: examples in a validation or test batch, per device; None: `batch_size`. No score depends on it.
        num_workers: processes that load training batches; 0: this one.
        shuffle: whether training examples are permuted in each epoch.
        unanswerable: whether a question may have no answer; None: whether one has none, in any split.
        max_tokens: head=span: of a window, which is a question and a part of its context.
        stride: head=span: tokens from the beginning of a window's part of the context to that of the next.
        max_answer_tokens: head=span: of an output.
        threshold: head=span: the probability of no answer above which nothing is answered; None: the one with the best F1
            on validation, 0.5 where that is not scored.
        match: head=span: whether tokens of the context that the question has too are told to the network, as a token type
            of their own, which sets model.token_types=3.
        template: head=next_token: what is read, with {question} and {context} where they stand.
        max_source_tokens: head=next_token: of what is read; its end is left out beyond.
        max_target_tokens: head=next_token: of an answer, its end token included.
        prompt: head=next_token: what a network without an encoder reads, with {source} where the filled template stands.
        num_beams: head=next_token: how many are searched; one is greedy.
        length_penalty: head=next_token: see `beam_search`.
        early_stopping: head=next_token: see `beam_search`.
        no_repeat_ngram: head=next_token: n tokens that no answer has twice; 0: any may come again.
        choices: head=next_token: texts of which an answer is one; None: any text.
        regex: head=next_token: what an answer matches as a whole; None: any text.

    Raises:
        UserError: see `SpanAnswers` and `WrittenAnswers`; a setting of the one is changed with the head of the other.
    """
    return form_of(qa, FORMS, locals(), ("span", "next_token"))


declare(qa, FORMS, SpanAnswers, "val/loss")  # of both; which one a run follows is the form's to say
