"""Question answering: the task that fits the head, a part of the context (`head=span`) or a text (`head=next_token`)."""

from __future__ import annotations

from typing import Any, Literal

from manyheads.data.source import Source
from manyheads.errors import UserError, written
from manyheads.marks import builder
from manyheads.signature import parameters
from manyheads.task.base import Task
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

    Raises:
        UserError: see `SpanAnswers` and `WrittenAnswers`; a setting of the one is changed with the head of the other.
    """
    settings = dict(locals())
    form = FORMS[reads]
    own = parameters(form)
    _check_used(settings, own, reads)
    return form(**{name: settings[name] for name in own})


def _check_used(settings: dict[str, Any], own: Any, reads: str) -> None:
    """Raises UserError for a setting that would count for nothing."""
    for name, setting in parameters(qa).items():
        if name not in own and setting.default is not setting.empty and settings[name] != setting.default:
            raise UserError(
                f"task.{name}={written(settings[name])} counts for nothing with a head that reads {reads}. Leave it out, or set "
                "head to the other one of span and next_token."
            )


def _declared() -> dict[str, Any]:
    """What a task says of itself before data is read: all that either form may be."""
    forms = list(FORMS.values())
    metrics = [metric for form in forms for metric in form.metrics]
    return {
        "forms": tuple(forms),
        "by_reads": FORMS,
        "heads": frozenset().union(*(form.heads for form in forms)),
        "fields": SpanAnswers.fields,
        "asked": SpanAnswers.asked,
        "metrics": tuple(dict.fromkeys(metrics)),
        "output_metrics": SpanAnswers.output_metrics,
        "monitor": "val/loss",  # of both; which one a run follows is the form's to say
    }


vars(qa).update(_declared())
