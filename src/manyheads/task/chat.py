"""Chat: the assistant's turns of a dialogue."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np
from torch import Tensor, nn

from manyheads.baseline.base import VERSION, Scores, kept
from manyheads.baseline.chat import bigram
from manyheads.batch import Batch
from manyheads.data.cache import fingerprint
from manyheads.data.examples import Collate
from manyheads.data.fields import Fields
from manyheads.data.ragged import ROW, RowError
from manyheads.data.source import Source
from manyheads.decoding.reply import ASKED, ReplyOptions, reply
from manyheads.errors import UserError, check_range
from manyheads.head.base import Head
from manyheads.metric.accuracy import Accuracy
from manyheads.metric.bits_per_byte import BitsPerByte
from manyheads.metric.loss import Loss
from manyheads.metric.output import OutputMetric
from manyheads.metric.perplexity import Perplexity
from manyheads.task.base import Prediction, Scored, Shown
from manyheads.task.chat_layout import LAYOUTS, runs
from manyheads.task.example import ExampleTask
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.chat_template import ASSISTANT, SYSTEM, USER, ChatTemplate, fault, fitting, with_markers

NO_REPLY = "messages has no turn of the assistant, so that nothing can be learned"


@final
class Chat(ExampleTask):
    """The column messages holds dialogues, lists of {role, content}: a system turn or none, then user and assistant by turns.

    Only the assistant's turns are learned and scored, each by what stands before it: their contents and the token that ends
    a turn; bytes are those of their contents. The tokenizer gets the markers of `chat_template.py`. A network that
    reads from left to right learns all replies of a dialogue in one row; an encoder-decoder reads the history of each
    reply with its encoder. What a user says after the last reply is left out.

    Args:
        source, tokenizer, seed, batch_size, eval_batch_size, num_workers, shuffle: see `ExampleTask`.
        kind: of the network.
        max_tokens: of a dialogue, markers included. A longer one loses whole turns from its beginning, a user's with its
            reply, but not the system's; it is left out where its last exchange alone is longer. The run tells how many.

    Raises:
        UserError: a number is out of range, a row is no such dialogue, or the tokenizer's texts could forge a marker.
    """

    heads = frozenset({"NextToken"})
    fields = Fields(("messages.content",))
    asked = Fields(("messages.content",))
    metrics = (Loss, Perplexity, BitsPerByte, Accuracy)
    hint = "chat {run}"
    monitor = "val/bits_per_byte"
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
        max_tokens: int = 512,
    ) -> None:
        super().__init__(
            source=source, tokenizer=with_markers(tokenizer), seed=seed, batch_size=batch_size,
            eval_batch_size=eval_batch_size, num_workers=num_workers, shuffle=shuffle,
        )  # fmt: skip
        check_range("task.max_tokens", max_tokens, 8)
        self.max_tokens = max_tokens
        self.template = ChatTemplate(self.tokenizer)
        self.layout = LAYOUTS[kind](self.tokenizer.end_id)
        self.asked_of = ASKED[kind]
        self.while_training = False  # the losses of single replies are for predictions alone

    @property
    def recipe(self) -> list[Any]:
        return [self.max_tokens, type(self.layout).__name__]

    def encode(self, rows: Mapping[str, list[Any]]) -> Mapping[str, Sequence[Sequence[int]]]:
        """Columns: `tokens` and which are `learned`, the `bytes` of each reply, how many turns are `lost` before the first
        that is left, and how many are `unanswered` after the last."""
        made: dict[str, list[list[int]]] = {
            name: [] for name in (ROW, "tokens", "learned", "bytes", "lost", "unanswered")
        }
        dialogues = [self._checked(row, messages) for row, messages in enumerate(rows["messages"])]
        encoded = iter(self.tokenizer.encode_batch([turn["content"] for dialogue in dialogues for turn in dialogue]))
        for row, dialogue in enumerate(dialogues):
            contents = [next(encoded) for _ in dialogue]
            roles = [turn["role"] for turn in dialogue]
            places = fitting(roles, [len(content) for content in contents], self.max_tokens)
            if places is None:
                continue
            tokens = self.template.of([roles[place] for place in places], [contents[place] for place in places])
            num_bytes = [len(turn["content"].encode()) for turn in _replies([dialogue[place] for place in places])]
            shared = {ROW: [row], "lost": [len(dialogue) - len(places)]}
            shared["unanswered"] = [len(rows["messages"][row]) - len(dialogue)]
            for part, part_bytes in self.layout.parts(tokens, num_bytes):
                example = {**shared, "tokens": part.ids, "learned": [*map(int, part.learned)], "bytes": part_bytes}
                for name, column in made.items():
                    column.append(example[name])
        return made

    def _checked(self, row: int, messages: Any) -> list[dict[str, Any]]:
        """The dialogue up to its last reply. Raises RowError."""
        if wrong := fault(messages):
            raise RowError(row, wrong)
        if not _replies(messages):
            raise RowError(row, NO_REPLY)
        return list(messages[: len(messages) - (messages[-1]["role"] == USER)])

    def told(self, split: str) -> list[str]:
        store = self.store(split)
        rows, first = np.unique(store.rows, return_index=True)
        lost, unanswered = store["lost"].values[first], store["unanswered"].values[first]
        which, limit = f"of {store.num_rows:,} dialogues of {split}", f"task.max_tokens={self.max_tokens}"
        counts = (
            (np.count_nonzero(lost), f"are longer than {limit}: their first turns were left out, {lost.sum():,} turns"),
            (store.num_rows - len(rows), f"were left out: their last exchange alone is longer than {limit}"),
            (unanswered.sum(), "end with a turn of the user: it was left out"),
        )
        return [f"{count:,} {which} {text}" for count, text in counts if count]

    def collate(self, scoring: bool) -> Collate:
        return self.layout

    def read(self, network: nn.Module, head: Head, batch: Batch, hidden: Tensor) -> list[list[float]]:
        """The sum of the losses of each reply, in nats."""
        losses = head.scores(hidden, batch).losses.double().cpu().numpy()
        learned = head.learned(batch).cpu().numpy()
        return [
            [float(row[start:end].sum()) for start, end in runs(where)]
            for row, where in zip(losses, learned, strict=True)
        ]

    def inputs(self, rows: Mapping[str, list[Any]]) -> list[Any]:
        """The turns of the others."""
        return [[dict(turn) for turn in messages if turn["role"] != ASSISTANT] for messages in rows["messages"]]

    def targets(self, rows: Mapping[str, list[Any]]) -> list[list[str]]:
        """The replies."""
        return [[turn["content"] for turn in _replies(messages)] for messages in rows["messages"]]

    def scorers(self) -> list[OutputMetric]:
        return []

    def scores(self, split: str, outputs: Mapping[int, Any]) -> dict[str, float]:
        """None: losses say all."""
        return {}

    def predictions(self, scored: Scored) -> Iterator[Prediction]:
        """One line per dialogue of the test split, in order; of one that was cut, what was left."""
        store = self.store("test")
        examples = sorted(scored.loss)
        rows = self.source.rows("test")
        for row, group in itertools.groupby(examples, key=lambda example: int(store.rows[example])):
            parts = list(group)
            left = self._left("test", parts[0], rows[row]["messages"])
            loss, tokens = sum(scored.loss[part] for part in parts), sum(scored.labels[part] for part in parts)
            num_bytes = sum(int(store["bytes"][part].sum()) for part in parts)
            yield Prediction(
                id=row, loss=loss, tokens=tokens, bytes=num_bytes, bits_per_byte=loss / math.log(2) / num_bytes,
                input=self.inputs({"messages": [left]})[0], target=self.targets({"messages": [left]})[0],
                losses=[loss for part in parts for loss in scored.outputs.get(part, ())],
            )  # fmt: skip

    def answers(self, network: nn.Module, head: Head) -> Iterator[Prediction]:
        """What a trained network replies, by the likeliest token each, to the last turn of the user in each row of the test
        split; the target is the reply that stands there, if one does. Raises UserError for a row that is no dialogue."""
        options = ReplyOptions(temperature=0, context=self.max_tokens)
        for number, row in enumerate(self.source.rows("test")):
            messages: Any = dict(row)["messages"]
            if wrong := fault(messages):
                raise UserError(f"data ({self.source.name}): row {number}: {wrong}. Mend the row, or leave it out.")
            asked = list(messages if messages[-1]["role"] == USER else messages[:-1])
            said = "".join(piece.text for piece in reply(network, head, self.tokenizer, asked, options))
            line = Prediction(id=number, input=asked, output=said)
            if len(asked) < len(messages):
                line["target"] = messages[-1]["content"]
            yield line

    def prompts(self, count: int) -> list[Shown]:
        """Dialogues of the validation split that stand evenly apart, up to their last reply."""
        store = self.store("validation")
        chosen = np.linspace(0, len(store) - 1, min(count, len(store))).astype(np.int64).tolist()
        rows = self.source.rows("validation")
        return [self._shown(example, rows[int(store.rows[example])]["messages"]) for example in chosen]

    def _shown(self, example: int, messages: Sequence[Mapping[str, Any]]) -> Shown:
        left = self._left("validation", example, messages)
        tokens, learned = (self.store("validation")[name][example] for name in ("tokens", "learned"))
        begun = tokens[: runs(learned)[-1][0]]
        replies = int((begun == self.template.markers[ASSISTANT]).sum())
        last = [place for place, turn in enumerate(left) if turn["role"] == USER][replies - 1]
        said = "".join(f"{turn['role']}: {turn['content']}\n" for turn in left[: last + 1])
        ids, source = self.asked_of(begun.tolist())
        return Shown(f"{said}{ASSISTANT}: ", ids, source, ends=self.template.ends)

    def question(self, text: str) -> list[int]:
        """The text as a user's turn, up to the reply."""
        prompt, source = self.asked_of(self.template([{"role": USER, "content": text}], asks=True).ids)
        return prompt if source is None else source

    def _left(self, split: str, example: int, messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The turns of a row that its example is made of."""
        store = self.store(split)
        (lost,), (unanswered,) = store["lost"][example], store["unanswered"][example]
        first = int(messages[0]["role"] == SYSTEM)
        return [*messages[:first], *messages[first + lost : len(messages) - unanswered]]

    def baselines(self, split: str) -> Scores:
        """The bigram, computed once for all runs on the same rows and tokens."""
        key = fingerprint("chat", VERSION, *self._key, *self.recipe, self.source.fingerprint, self.source.fields, split)
        return kept(key, lambda: {"bigram": self._bigram(split)})

    def _bigram(self, split: str) -> dict[str, float]:
        held, num_bytes = list(self.replies(split)), int(self.store(split)["bytes"].values.sum())
        size = self.tokenizer.vocab_size
        bits = bigram(self.replies("train"), held, vocab_size=size, num_bytes=num_bytes)
        loss = bits * num_bytes * math.log(2) / sum(len(reply) - 1 for reply in held)
        return {"loss": loss, "perplexity": math.exp(loss), "bits_per_byte": bits}

    def replies(self, split: str) -> Iterator[list[int]]:
        """The tokens of each reply, its end included, behind the assistant's marker: what a baseline counts."""
        store = self.store(split)
        for example in range(len(store)):
            tokens = store["tokens"][example]
            for start, end in runs(store["learned"][example]):
                yield tokens[start - 1 : end].tolist()


def _replies(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [turn for turn in messages if turn["role"] == ASSISTANT]
