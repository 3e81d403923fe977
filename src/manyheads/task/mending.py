"""What a network of `denoising` makes of the masks that a user has written into a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from manyheads.decoding.beam import beam_search
from manyheads.errors import UserError
from manyheads.head.base import Head
from manyheads.task.base import Prediction
from manyheads.task.mask_filling import masked_texts
from manyheads.tokenizer.special import MASK

if TYPE_CHECKING:
    from manyheads.task.denoising import Denoising

PLACE = -1
"""In the place of a mask, until the objective says what stands there."""


def mended(task: Denoising, network: nn.Module, head: Head) -> Iterator[Prediction]:
    """A line for each text of the test split, in order: `output` is the whole text as the network mends it, which takes the
    likeliest token each time.

    Raises UserError for a text without a mask, for one that is longer than the rows of training, and for one with more
    masks than the objective can tell apart.
    """
    number = 0
    for texts in task.source.texts("test"):
        for first in range(0, len(texts), task.eval_batch_size):
            part = texts[first : first + task.eval_batch_size]
            sources = _sources(task, part, number)
            for text, source, written in zip(part, sources, _written(task, network, head, sources), strict=True):
                mended = task.denoise.objective.mended(source, written)
                yield Prediction(id=number, input=text, output=task.tokenizer.decode(mended))
                number += 1


def _sources(task: Denoising, texts: Sequence[str], first: int) -> list[list[int]]:
    """The tokens that are read of each text, without end tokens."""
    found = []
    for row, text in enumerate(masked_texts(texts, task.tokenizer, MASK, PLACE, first=first), first):
        ids, places = text.ids[1:], [place - 1 for place in text.places]
        if len(ids) > task.seq_len:
            raise UserError(
                f"row {row} has {len(ids)} tokens, and this network learned rows of task.seq_len={task.seq_len}. Give it in parts."
            )
        for place, token in zip(places, task.denoise.objective.masks(len(places), row), strict=True):
            ids[place] = token
        found.append(ids)
    return found


def _written(task: Denoising, network: nn.Module, head: Head, sources: Sequence[Sequence[int]]) -> list[list[int]]:
    """What the network writes after each, without the end token."""
    end, before = task.tokenizer.end_id, task.denoise.before
    columns = {"source": [np.array([*before, *one, end], np.int32) for one in sources]}
    columns |= {"target": [np.array([end], np.int32)] * len(sources), "bytes": [np.zeros(1, np.int32)] * len(sources)}
    prompts, read = task.denoise.layout.asked(task.denoise.layout(columns))
    longest = max(task.denoise.objective.sizes(task.seq_len)) + 1
    found = beam_search(network, head, prompts, end_id=end, max_new_tokens=longest, num_beams=1, sources=read)
    return [[token for token in best[0].tokens if token != end] for best in found]
