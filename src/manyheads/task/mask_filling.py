"""What a network puts in the place of the masks that a user has written into a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.data.examples import padded
from manyheads.decoding.reader import eval_mode
from manyheads.errors import UserError
from manyheads.head.base import Head
from manyheads.head.token import TokenHead
from manyheads.task.answering import device_of, moved
from manyheads.task.base import Prediction
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.pieces import first_and_later

if TYPE_CHECKING:
    from manyheads.task.masked import Masked


class MaskedText(NamedTuple):
    """A text as it is read: the end token, and the tokens of the parts that the masks leave."""

    ids: list[int]
    places: list[int]  # of the masks in ids


class Window(NamedTuple):
    """A part of a text that has a mask."""

    text: int  # whose it is
    start: int  # its first token's place
    ids: list[int]


def filled(task: Masked, network: nn.Module, head: Head) -> Iterator[Prediction]:
    """A line for each text of the test split, in order: `output` has the likeliest token in the place of each mask, and
    `masks` the `top_k` likeliest. A text is read in rows of `seq_len`, as in training; special tokens are not proposed.

    Raises UserError for a text without a mask.
    """
    number = 0
    for texts in task.source.texts("test"):
        read = masked_texts(texts, task.tokenizer, task.mask_token, task.mask_id, first=number)
        with eval_mode(network, head):
            found = _likeliest(task, network, head, read)
        for text, one, tokens in zip(texts, read, found, strict=True):
            ids = list(one.ids)
            for place, (best, _) in zip(one.places, (candidates[0] for candidates in tokens), strict=True):
                ids[place] = best
            masks = [
                [{"token": task.tokenizer.decode([token]), "probability": chance} for token, chance in candidates]
                for candidates in tokens
            ]
            yield Prediction(id=number, input=text, output=task.tokenizer.decode(ids[1:]), masks=masks)
            number += 1


def masked_texts(
    texts: Sequence[str], tokenizer: Tokenizer, mask_token: str, mask_id: int, *, first: int = 0
) -> list[MaskedText]:
    """The texts, the first of which is row `first`, with a mask where `mask_token` is written; each part between masks is
    encoded by itself. A space before a mask is a part of what is masked, where the tokens of words begin with theirs.

    Raises UserError for a text without a mask.
    """
    takes_space = any(piece[:1] == b" " and piece.strip() for piece in first_and_later(tokenizer)[1])
    found = []
    for row, text in enumerate(texts, first):
        parts = text.split(mask_token)
        if len(parts) == 1:
            raise UserError(
                f"row {row} has no mask to be filled. Write {mask_token} into text where a token is to be told."
            )
        before = [part.removesuffix(" ") if takes_space else part for part in parts[:-1]]
        ids, places = [tokenizer.end_id], list[int]()
        for tokens in tokenizer.encode_batch([*before, parts[-1]]):
            ids += [*tokens, mask_id]
            places.append(len(ids) - 1)
        found.append(MaskedText(ids[:-1], places[:-1]))
    return found


@torch.inference_mode()
def _likeliest(
    task: Masked, network: nn.Module, head: Head, texts: Sequence[MaskedText]
) -> list[list[list[tuple[int, float]]]]:
    """For each mask of each text the likeliest tokens with their probabilities."""
    found: list[list[list[tuple[int, float]]]] = [[] for _ in texts]
    windows = [window for number, text in enumerate(texts) for window in _windows(number, text, task.seq_len)]
    for first in range(0, len(windows), task.eval_batch_size):
        part = windows[first : first + task.eval_batch_size]
        ids, segments = padded([np.array(window.ids) for window in part], task.tokenizer.end_id)
        batch = Batch(input_ids=ids) if segments is None else Batch(input_ids=ids, segments=segments)
        rows, places = (ids == task.mask_id).nonzero(as_tuple=True)
        hidden = network(moved(batch, device_of(network)))[rows, places]
        for row, candidates in zip(rows.tolist(), _candidates(task, head, hidden), strict=True):
            found[part[row].text].append(candidates)
    return found


def _candidates(task: Masked, head: Head, hidden: Tensor) -> list[list[tuple[int, float]]]:
    """Of each of [N, D] states the `top_k` likeliest tokens that text is made of."""
    chances = cast(TokenHead, head).logits(hidden).double().softmax(-1).cpu()  # [N, V]
    ordinary = torch.from_numpy(task.ordinary)
    best = chances[:, ordinary].topk(min(task.top_k, len(ordinary)))
    tokens = ordinary[best.indices]
    return [list(zip(*row, strict=True)) for row in zip(tokens.tolist(), best.values.tolist(), strict=True)]


def _windows(number: int, text: MaskedText, seq_len: int) -> Iterator[Window]:
    starts = sorted({place // seq_len * seq_len for place in text.places})
    return (Window(number, start, text.ids[start : start + seq_len]) for start in starts)
