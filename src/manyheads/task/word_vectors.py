"""Word vectors: the task that fits the head, windows of text (`head=negative_sampling`) or counts (`head=cooccurrence`)."""

from __future__ import annotations

from collections.abc import Sequence

from manyheads.data.source import Source
from manyheads.marks import builder
from manyheads.task.base import Task
from manyheads.task.forms import declare, form_of
from manyheads.task.word_counts import WordCounts
from manyheads.task.word_task import WordTask
from manyheads.task.word_windows import WordWindows
from manyheads.tokenizer.base import Tokenizer

FORMS: dict[str, type[WordTask]] = {"candidates": WordWindows, "counts": WordCounts}
"""By what the head reads of a batch."""


@builder
def word_vectors(
    *,
    source: Source,
    tokenizer: Tokenizer,
    seed: int,
    kind: str,
    reads: str,
    batch_size: int = 32,
    eval_batch_size: int | None = None,
    num_workers: int = 0,
    shuffle: bool = True,
    window: int = 5,
    neighbours: int = 10,
    words: Sequence[str] | None = None,
    analogies: str | None = None,
    similarities: str | None = None,
    seq_len: int = 256,
    pack: bool = True,
    subsample: float = 1e-3,
    negatives: int = 5,
    negatives_power: float = 0.75,
    pairs: int = 128,
) -> Task:
    """A vector for each word of texts, from the words around it. Words are tokens: tokenizer=word has whole ones.

    The words nearest to some are told at the end and stand in predictions/neighbours.html of the run's folder. `predict`
    answers a word, or a text, with its neighbours.

    Args:
        source, tokenizer, seed: where texts come from, what makes words of them, what draws and orders are made from.
        kind, reads: of the network, and what its head reads.
        batch_size: rows of text in a training batch, per device; of pairs `pairs` times as many.
        eval_batch_size: the same of validation and test; None: `batch_size`. No score depends on it.
        num_workers: processes that load training batches; 0: this one.
        shuffle: whether rows are permuted in each epoch.
        window: how far apart words are that count as near each other, at most.
        neighbours: how many are told of each word.
        words: those whose neighbours are told; None: ten frequent ones.
        analogies: a file of lines `a b c d`, under headings `: section`, that are solved by b - a + c.
        similarities: a file of lines of two words and a score, to which cosines are held.
        seq_len: head=negative_sampling: words in a row of text, at most; windows do not reach over its end.
        pack: head=negative_sampling: puts several short texts into one row.
        subsample: head=negative_sampling: the share of all words above which a word is left out now and then; 0: none is.
        negatives: head=negative_sampling: words that are drawn beside each that is told.
        negatives_power: head=negative_sampling: they are drawn by their counts to this power.
        pairs: head=cooccurrence: pairs of words for each row of a batch.

    Raises:
        UserError: see `WordWindows` and `WordCounts`; a setting of the one is changed with the head of the other.
    """
    return form_of(word_vectors, FORMS, locals(), ("negative_sampling", "cooccurrence"))


declare(word_vectors, FORMS, WordTask, WordTask.monitor)
