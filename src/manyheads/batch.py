"""Batch: the one shape that passes from tasks to models, and the legend of the shape letters.

Letters in shape comments, everywhere in this package:

    B  rows in the batch          T  positions in a row        D  width of the network
    V  size of the vocabulary     H  attention heads           G  key/value heads (groups)
    K  width of one head          S  positions that keys and values cover (cache + T)
"""

from __future__ import annotations

from typing import TypedDict

from torch import Tensor

IGNORE = -100
"""The label of a position where nothing is learned or scored."""

NO_EXAMPLE = -1
"""The example id of a padding position."""


class Batch(TypedDict, total=False):
    """One micro-batch. Only `input_ids` is always there. A head reads one of `labels`, `classes`, `spans`, `candidates` and `counts`."""

    input_ids: Tensor  # [B, T] int64, token ids; padding holds the tokenizer's end-of-text id
    labels: Tensor  # [B, T] int64, the token that follows each input, or IGNORE
    positions: Tensor  # [B, T] int64, place within the segment, from 0; absent: 0..T-1 in every row
    segments: Tensor  # [B, T] int64, 1.. within a row, 0 on padding; absent: each row is one whole segment, unpadded.
    #                   A position attends only to positions of its own segment.
    token_types: Tensor  # [B, T] int64, which text of a pair a token belongs to, from 0; absent: 0 everywhere
    examples: Tensor  # [B, T] int64, which example of the split a position belongs to, NO_EXAMPLE on padding; or [B],
    #                   where each row is one example
    num_bytes: Tensor  # [B] int64, bytes of raw text that the labels of a row stand for
    source_ids: Tensor  # [B, S] int64, what the encoder of an encoder-decoder reads; padding as in input_ids
    source_segments: Tensor  # [B, S] int64, 1 on tokens and 0 on padding; absent: no row is padded
    classes: Tensor  # [B] int64, the class of each row, or IGNORE; or [B, C] float, 0 or 1 for each of several labels
    num_tokens: Tensor  # [] int64, tokens that are read, padding apart; absent: as many as there are labels
    pseudo_labels: Tensor  # [B, T] int64, tokens that are each to be told with nothing but itself masked, or IGNORE
    member: str  # of a mixture, the name of the task that the batch is of; absent: there is one task
    lanes: Tensor  # [B] int64, the lane of text that each row is the next part of: where its positions do not begin at 0, a
    #                network goes on from the state that the lane's row before has left; absent: no row goes on
    num_lanes: int  # how many lanes there are, over all batches and ranks; beside `lanes`
    spans: Tensor  # [B, 2] int64, the first and the last position of the answer in input_ids, or IGNORE
    candidates: Tensor  # [B, 1 + N] int64, the word that is to be told from each row's input_ids, in any order, and N words that
    #                     are not there; or IGNORE
    counts: Tensor  # [B, 2] float32, how often the two words of input_ids [B, 2] stand near each other in their split,
    #                 and that in units of train; 0: nothing is learned
