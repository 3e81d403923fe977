"""Summaries that are a sentence of the document: each sentence is asked about by itself, and the likeliest is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from manyheads.baseline.sentences import sentences
from manyheads.baseline.summarization import rouge_1
from manyheads.batch import Batch
from manyheads.head.base import Head
from manyheads.task.layouts import Layout, target_losses
from manyheads.tokenizer.base import Tokenizer

YES, NO = "yes", "no"
"""What is learned of the sentence that is nearest to the summary, and of every other one."""


def candidates(document: str) -> list[str]:
    """What is read of each sentence of a document: where it stands, and itself, as in "2/7: It rains."; white space within it
    becomes a space. One empty text for a document without a sentence."""
    found = [" ".join(sentence.split()) for sentence in sentences(document)]
    return [f"{number}/{len(found)}: {sentence}" for number, sentence in enumerate(found, 1)] or [""]


def sentence_of(document: str, number: int) -> str:
    """The sentence of one of the `candidates`, as it stands in the document."""
    found = sentences(document)
    return found[number] if found else ""


def nearest(document: str, summary: str) -> int:
    """Which sentence is nearest to a summary by ROUGE-1, the first of equals; 0 where there is none.

    Sentences that learn to be extracted are found so by Nallapati, Zhai, Zhou, "SummaRuNNer", 2017, section "Extractive
    Training", there several for a summary.
    """
    found = sentences(document)
    return max(range(len(found)), key=lambda i: rouge_1(found[i], summary), default=0)


def asked_about(
    rows: Mapping[str, list[Any]], document: str, summary: str
) -> tuple[dict[str, list[Any]], list[list[int]]]:
    """(rows of a sentence each in place of documents, and of an answer in place of summaries where there are some, the
    number of the row that each comes from)."""
    texts, answers, numbers = [], [], []
    summaries = rows.get(summary)
    for row, text in enumerate(rows[document]):
        found = candidates(text or "")
        texts += found
        numbers += [[row]] * len(found)
        if summaries is not None:
            best = nearest(text or "", summaries[row] or "")
            answers += [YES if number == best else NO for number in range(len(found))]
    return {document: texts} | ({} if summaries is None else {summary: answers}), numbers


def likelihoods(network: nn.Module, head: Head, layout: Layout, tokenizer: Tokenizer, batch: Batch) -> list[float]:
    """How likely each row's answer is YES and not NO."""
    losses = [
        target_losses(network, head, layout.answered(batch, [*tokenizer.encode(text), tokenizer.end_id]))
        for text in (YES, NO)
    ]
    return (losses[1] - losses[0]).sigmoid().tolist()
