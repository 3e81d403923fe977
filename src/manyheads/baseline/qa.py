"""Answers without learning: the whole context, and the sentence that shares the most words with the question."""

from __future__ import annotations

from manyheads.baseline.sentences import sentences
from manyheads.metric.squad import normalized


def whole_context(context: str, question: str) -> str:
    """The context, whatever is asked: the one span that every row has and that holds every answer."""
    return context


def best_sentence(context: str, question: str) -> str:
    """The sentence of the context that has the most different words of the question, of equals the first.

    Words are compared as SQuAD's evaluation compares answers: lowered, without punctuation and articles. Of an empty
    context, the empty text.
    """
    asked = set(normalized(question).split())
    return max(sentences(context), key=lambda sentence: len(asked & set(normalized(sentence).split())), default="")
