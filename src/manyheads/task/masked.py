"""Masked language modelling: learn to tell the tokens of a text that are hidden."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from manyheads.baseline.base import VERSION, Scores, kept
from manyheads.baseline.masked import bigram
from manyheads.batch import IGNORE, Batch
from manyheads.data.altered import Alter
from manyheads.data.cache import fingerprint
from manyheads.data.masking import AskedAlone, Masking, Vocabulary
from manyheads.data.next_sentence import MARKS, Pairs, Sentences, sentence_ends
from manyheads.data.source import SPLITS, Source
from manyheads.errors import UserError, check_range
from manyheads.head.base import Head
from manyheads.head.masked_token import MaskedToken
from manyheads.metric.accuracy import Accuracy
from manyheads.metric.loss import Loss
from manyheads.metric.next_sentence import NextSentenceAccuracy
from manyheads.metric.output import OutputMetric
from manyheads.metric.pseudo_perplexity import PseudoPerplexity
from manyheads.task.altered_texts import AlteredTexts
from manyheads.task.base import Prediction
from manyheads.task.mask_filling import filled
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.special import MASK, ids_of, ordinary_ids, special_ids, with_special
from manyheads.tokenizer.word_starts import WordStarts


@final
class Masked(AlteredTexts):
    """BERT's first objective (Devlin et al. 2019, section 3.1): some tokens of a row are hidden and told from the others.

    A text begins with the tokenizer's end-of-text token, which like all special tokens is never hidden. Validation and test
    have one mask for each row, drawn from the seed and the row, so no score depends on the batch size.

    Args:
        source, tokenizer, seed, batch_size, eval_batch_size, seq_len, pack, num_workers, shuffle: see `TextRows`. The tokenizer
            gets a mask token, unless it has one.
        masking: dynamic hides other tokens in each epoch (Liu et al. 2019, section 4.1), static has `static_masks` masks for
            each row that take turns, whole_word is dynamic and hides whole words (`WordStarts` says what one is).
        mask_rate: the probability that a token, or a word, is hidden.
        mask_share: the share of hidden tokens that become the mask token.
        random_share: the share that become a random token; the others stay as they are.
        static_masks: of each row (10 in Liu et al. 2019, section 4.1, and in BERT).
        mask_token: what the special token is called; a tokenizer of others may have one, such as BERT's [MASK].
        pseudo_perplexity_texts: of how many texts, the first ones of a split, the pseudo-perplexity is taken at the end, each up
            to `seq_len` tokens; it reads each row once for every token. 0: none, as with `next_sentence`.
        next_sentence: whether rows are pairs of texts, of which the network also learns to tell whether the second follows on
            the first (Devlin et al. 2019, section 3.1 and appendix A.2): see `Pairs`. They are not packed. A pair weighs as
            much as the tokens that are hidden in a row on average, so that what is learned is the mean loss of hidden tokens
            plus that of pairs. The loss of validation and test is that of hidden tokens, in the second texts too.
        top_k: how many tokens `predict` tells of each mask, the likeliest first.

    Raises:
        UserError: a number is out of range; static masks for a stream, whose rows do not come again; pairs of a stream, or of
            texts of one sentence each.
    """

    heads = frozenset({"MaskedToken"})
    metrics = (Loss, Accuracy)
    output_metrics = (PseudoPerplexity, NextSentenceAccuracy)
    monitor = "val/loss"

    def __init__(
        self,
        *,
        source: Source,
        tokenizer: Tokenizer,
        seed: int,
        batch_size: int = 16,
        eval_batch_size: int | None = None,
        seq_len: int = 256,
        pack: bool = True,
        num_workers: int = 0,
        shuffle: bool = True,
        masking: Literal["static", "dynamic", "whole_word"] = "dynamic",
        mask_rate: float = 0.15,
        mask_share: float = 0.8,
        random_share: float = 0.1,
        static_masks: int = 10,
        mask_token: str = MASK,
        pseudo_perplexity_texts: int = 50,
        next_sentence: bool = False,
        top_k: int = 5,
    ) -> None:
        super().__init__(
            source=source, tokenizer=with_special(tokenizer, [mask_token]), seed=seed, batch_size=batch_size,
            eval_batch_size=eval_batch_size, seq_len=seq_len, pack=pack and not next_sentence, num_workers=num_workers, shuffle=shuffle,
        )  # fmt: skip
        check_range("task.mask_rate", mask_rate, 0, 1)
        check_range("task.mask_share", mask_share, 0, 1)
        check_range("task.random_share", random_share, 0, 1 - mask_share, hint="The upper end is 1 - task.mask_share.")
        check_range("task.static_masks", static_masks, 1)
        check_range("task.pseudo_perplexity_texts", pseudo_perplexity_texts, 0)
        check_range("task.top_k", top_k, 1)
        static = {"static": static_masks}
        if masking in static and source.stream() is not None:
            raise UserError(
                f"task.masking={masking}: with data.streaming=true rows do not come again as they were. "
                "Set task.masking=dynamic."
            )
        self.masks = static.get(masking)
        self.settings = [masking, mask_rate, mask_share, random_share, static_masks, *[next_sentence] * next_sentence]
        self.mask_token = mask_token
        self.top_k = top_k
        (self.mask_id,) = ids_of(self.tokenizer, [mask_token])
        special = np.zeros(self.tokenizer.vocab_size, bool)
        special[special_ids(self.tokenizer)] = True
        self.ordinary = ordinary_ids(self.tokenizer)
        vocabulary = Vocabulary(self.mask_id, self.ordinary, special)
        make_words = {"whole_word": WordStarts}
        words = make_words[masking](self.tokenizer) if masking in make_words else None
        self.alter = Masking(vocabulary, rate=mask_rate, masked=mask_share, random=random_share, words=words)
        self.pseudo_perplexity_texts = pseudo_perplexity_texts
        self.while_training = False
        self.next_sentence = next_sentence
        self.output_metrics = (NextSentenceAccuracy,) if next_sentence else (PseudoPerplexity,)
        if next_sentence:
            self._check_pairs()
            self.pseudo_perplexity_texts, self.while_training, self.marks = 0, True, MARKS
            self.ends = sentence_ends(self.tokenizer)

    def _check_pairs(self) -> None:
        check_range("task.seq_len", self.seq_len, MARKS + 2, hint="A pair has two end tokens and two texts.")
        if self.source.stream() is not None:
            raise UserError(
                "task.next_sentence=true: the second text of a pair can be any text, and with data.streaming=true not all are "
                "at hand. Set data.streaming=false."
            )

    def prepare(self, splits: Iterable[str] = SPLITS) -> None:
        """Tokenizes the splits. Raises UserError when pairs are asked for and train has none."""
        splits = list(splits)
        super().prepare(splits)
        if not self.next_sentence or "train" not in splits:
            return
        if not self._sentences("train").has_pairs(self.scored_segments("train")):
            raise UserError(
                f"task.next_sentence=true: data ({self.source.name}): train has no two texts of which one has two sentences in a "
                f"row of task.seq_len={self.seq_len}. Set task.next_sentence=false, or data of several such texts."
            )

    def _sentences(self, split: str) -> Sentences:
        return Sentences(self.store(split), self.ends, self.tokenizer.end_id)

    def _paired(self, split: str, documents: NDArray[np.int64]) -> Pairs:
        assert self.alter is not None
        return Pairs(self.alter, self._sentences(split), documents, room=self.seq_len - MARKS)

    @property
    def found(self) -> dict[str, dict[str, Any]]:
        return {"head": {"pair_weight": self._hidden_in_a_row() if self.next_sentence else 0.0}}

    def _hidden_in_a_row(self) -> float:
        """How many tokens of a row of train are hidden, on average; 1 where none is."""
        assert isinstance(self.alter, Masking)
        tokens = float(self.scored_segments("train").length.mean()) - 1  # but the end token
        return round(self.alter.rate * tokens, 2) or 1.0

    @property
    def outputs(self) -> Masked | None:
        """The task itself reads them: whether pairs were told, or the pseudo-perplexity, where it is asked for."""
        return self if self.pseudo_perplexity_texts or self.next_sentence else None

    def trained_by(self, documents: NDArray[np.int64]) -> Alter:
        """Masks, of pairs where they are asked for."""
        return self._paired("train", documents) if self.next_sentence else super().trained_by(documents)

    def watch(self, monitor: str) -> None:
        """Reading a row once for each token takes long: a training does it at its end, unless that score is monitored."""
        needs = {PseudoPerplexity: "task.pseudo_perplexity_texts above 0 and task.next_sentence=false",
                 NextSentenceAccuracy: "task.next_sentence=true"}  # fmt: skip
        for metric, need in needs.items():
            if monitor == f"val/{metric.name}" and metric not in self._scored:
                raise UserError(f"callbacks.monitor={monitor} needs {need}.")
        self.while_training = self.next_sentence or monitor == f"val/{PseudoPerplexity.name}"

    @property
    def _scored(self) -> tuple[type[OutputMetric], ...]:
        """The scores of outputs that there are."""
        if self.next_sentence:
            return (NextSentenceAccuracy,)
        return (PseudoPerplexity,) if self.pseudo_perplexity_texts else ()

    def scored_by(self, split: str) -> Alter:
        """Masks, and says of which rows each token is asked for alone: the first ones of the first texts."""
        assert isinstance(self.alter, Masking)
        if self.next_sentence:
            return self._paired(split, self.scored_segments(split).document)
        if not self.pseudo_perplexity_texts:
            return self.alter
        document = self.scored_segments(split).document
        first = (np.diff(document, prepend=-1) > 0) & (document < self.pseudo_perplexity_texts)
        return AskedAlone(self.alter, self.alter.vocabulary.special, np.flatnonzero(first).tolist())

    def read(self, network: nn.Module, head: Head, batch: Batch, hidden: Tensor) -> list[tuple[float, int]]:
        """(sum of losses in nats, count) of the tokens of each row that are asked for, each masked alone; of pairs (how many
        were told, of how many), 1 or none of a row."""
        if self.next_sentence:
            told, asked = cast(MaskedToken, head).pairs_told(hidden, batch)
            return list(zip(told.double().tolist(), asked.long().tolist(), strict=True))
        asked = batch["pseudo_labels"]
        segments = batch.get("segments", torch.ones_like(asked))
        ids = torch.where(asked == IGNORE, batch["input_ids"], asked)
        return [
            self._alone(network, head, ids[row, :length], asked[row, :length])
            for row, length in enumerate((segments > 0).sum(-1).tolist())
        ]

    def _alone(self, network: nn.Module, head: Head, ids: Tensor, asked: Tensor) -> tuple[float, int]:
        """Of one row [T]."""
        places = (asked != IGNORE).nonzero().flatten()
        total = 0.0
        for part in places.split(self.eval_batch_size):
            if not len(part):
                continue
            inputs, number = ids.repeat(len(part), 1), torch.arange(len(part), device=ids.device)
            labels = torch.full_like(inputs, IGNORE)
            labels[number, part] = ids[part]
            inputs[number, part] = self.mask_id
            batch = Batch(input_ids=inputs, labels=labels)
            total += float(head.losses(network(batch), batch).double().sum())
        return total, len(places)

    def baselines(self, split: str) -> Scores:
        """The unigram, and the bigram of the token before each hidden one, as it is read; none where train is a stream."""
        found = super().baselines(split)

        def compute() -> Scores:
            pairs = self._pairs("train", scored=False), self._pairs(split, scored=True)
            return {"bigram": bigram(*pairs, vocab_size=self.tokenizer.vocab_size)}

        key = ["bigram before masks", VERSION, self.made_of, split]
        return {**found, **kept(fingerprint(*key), compute)} if found else {}

    def _pairs(self, split: str, *, scored: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The token before each hidden one of a split that is scored, as it is read, and the hidden one; of train each two
        tokens in a row of a text. Before the first token of a row stands a mask."""
        before, behind = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        assert isinstance(self.alter, Masking)
        special = self.alter.vocabulary.special
        for batch in self.altered_rows(split, scored=scored):
            read, labels = batch["input_ids"].numpy(), batch["labels"].numpy()
            whole = np.where(labels == IGNORE, read, labels)
            shown = np.pad(read if scored else whole, ((0, 0), (1, 0)), constant_values=self.mask_id)[:, :-1]
            wanted = labels != IGNORE if scored else ~special[whole]
            before.append(shown[wanted])
            behind.append(whole[wanted])
        return np.concatenate(before), np.concatenate(behind)

    @property
    def first_try(self) -> str | None:
        return f"predict {{run}} 'input.text=\"The function returns the {self.mask_token}.\"'"

    def answers(self, network: nn.Module, head: Head) -> Iterator[Prediction]:
        """What a trained network puts in the place of each mask of the rows of the test split, in order."""
        return filled(self, network, head)

    def scores(self, split: str, outputs: Mapping[int, Any]) -> dict[str, float]:
        """The scores of the rows that were read."""
        found = [outputs[example] for example in sorted(outputs)]
        return {metric.name: metric().score(found, found) for metric in self._scored}
