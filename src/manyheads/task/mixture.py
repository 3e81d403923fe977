"""Mixture: several tasks in one run, which share a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, final

from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from manyheads.batch import Batch
from manyheads.data.cache import fingerprint
from manyheads.data.mixing import checked_weights
from manyheads.data.source import SPLITS, Source
from manyheads.data.turns import MemberBatches, TurnsLoader, turns
from manyheads.errors import UserError
from manyheads.head.base import Head
from manyheads.metric.members import metrics_of, name_of
from manyheads.task.base import Loader, Prediction, Scored, Shown, SplitSize, Task
from manyheads.tokenizer.base import Tokenizer

EXAMPLE = "+task@task.members.topics=classification +task@task.members.text=masked"
APART = 1 << 40
"""Between the numbers of two members' examples."""


@final
class Mixture(Task):
    """Members that are trained by turns: each optimizer step is of one of them, with all its micro-batches and on all ranks,
    so that its gradients are those of that member alone, over its own count of labels.

    Each member is scored whole, as `<metric>/<member>`. Over all there is `loss`: the mean of the members' losses by their
    weights. A step leaves the heads of the other members as they are.

    Args:
        source: the members' sources together.
        tokenizer: the one that all members have.
        members: the tasks by a name of one's own.
        weights: the share of the optimizer steps of each, in any unit; None: as many as an epoch of each has, which go
            evenly into `loss`. One of weight 0 is scored and helps to train the tokenizer, but is not trained on.

    Raises UserError: see `checked_weights`.
    """

    heads = frozenset({"Members"})
    metrics = ()
    monitor = "val/loss"
    hint: ClassVar[str | None] = None

    def __init__(
        self,
        *,
        source: Source,
        tokenizer: Tokenizer,
        members: dict[str, Any],
        weights: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.source = source
        self.tokenizer = tokenizer
        self.members = dict(members)
        self.weights = None if weights is None else member_weights(weights, members)
        self.metrics, self.output_metrics = metrics_of(members, self.weights)
        self._first = {name: place * APART for place, name in enumerate(members)}
        self._turns: TurnsLoader | None = None
        self.while_training = self._reads_while_training()

    @property
    def found(self) -> dict[str, dict[str, Any]]:
        """Those of the members, at their places; the network is that of all."""
        places = {"task": "task.members.{}", "head": "task.members.{}.head", "model": "model"}
        return {
            places[group].format(name): settings
            for name, member in self.members.items()
            for group, settings in member.found.items()
        }

    @property
    def outputs(self) -> Mixture | None:
        """The task itself hands them to the members that read some."""
        return self if any(member.outputs for member in self.members.values()) else None

    def watch(self, monitor: str) -> None:
        """Tells the member whose score it is; the others, that it is none of theirs."""
        for name, member in self.members.items():
            own = {f"val/{name_of(one.name, name)}": f"val/{one.name}" for one in member.output_metrics}
            member.watch(own.get(monitor, Mixture.monitor))
        self.while_training = self._reads_while_training()

    def _reads_while_training(self) -> bool:
        return any(member.outputs is not None and member.outputs.while_training for member in self.members.values())

    @property
    def summary(self) -> str:
        """Each member's, and their shares."""
        total = sum((self.weights or {}).values())
        parts = {name: f", {weight / total:.1%} of the steps" for name, weight in (self.weights or {}).items()}
        return "\n".join(f"{name}: {one.summary}{parts.get(name, '')}" for name, one in self.members.items())

    @property
    def made_of(self) -> str:
        """A fingerprint of the members' rows and their order."""
        return fingerprint("members", [[name, member.made_of] for name, member in self.members.items()])

    def training_loader(self) -> Loader:
        """Batches of the members by turns."""
        micro_batches = self.trainer.accumulate_grad_batches if self.trainer else 1
        loaders: dict[str, Any] = {name: member.train_dataloader() for name, member in self._ready()}
        steps = [-(-len(loader) // micro_batches) for loader in loaders.values()]
        pattern = turns(steps, None if self.weights is None else list(self.weights.values()))
        self._turns = TurnsLoader(loaders, pattern, micro_batches=micro_batches, made_of=self.made_of)
        return self._turns

    def val_dataloader(self) -> list[MemberBatches]:
        """Validation batches, those of each member in a loader of their own."""
        return [self._marked(name, member.val_dataloader()) for name, member in self._ready()]

    def test_dataloader(self) -> list[MemberBatches]:
        """Test batches, those of each member in a loader of their own."""
        return [self._marked(name, member.test_dataloader()) for name, member in self._ready()]

    def _marked(self, name: str, batches: Any) -> MemberBatches:
        return MemberBatches(batches, member=name, first=self._first[name])

    def _ready(self) -> Iterator[tuple[str, Task]]:
        """The members, which are told which trainer and which rank they are for."""
        for name, member in self.members.items():
            member.trainer = self.trainer
            yield name, member

    @property
    def notes(self) -> list[str]:
        return [f"{name}: {note}" for name, member in self.members.items() for note in member.notes]

    @property
    def closing_notes(self) -> list[str]:
        """How often each member was gone through, and what each says itself."""
        told = [f"{name}: {note}" for name, member in self.members.items() for note in member.closing_notes]
        if self._turns is None:
            return told
        passes = ", ".join(f"{name} {count:.2f} times" for name, count in self._turns.passes().items())
        return [f"training went through {passes}", *told]

    def of_split(self, split: str, scored: Scored) -> dict[str, float]:
        """Those of the members."""
        return self._named({name: one.of_split(split, self._part(scored, name)) for name, one in self.members.items()})

    def by_source(self, split: str, scored: Scored) -> dict[str, float]:
        """Those of the members, as `<metric>/<member>/<part>`."""
        return self._named({name: one.by_source(split, self._part(scored, name)) for name, one in self.members.items()})

    def _named(self, scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        return {name_of(metric, name): score for name, found in scores.items() for metric, score in found.items()}

    @property
    def tokens_per_epoch(self) -> int:
        """Of all members."""
        return sum(member.tokens_per_epoch or 0 for member in self.members.values())

    def prepare(self, splits: Iterable[str] = SPLITS) -> None:
        for member in self.members.values():
            member.prepare(splits)

    def describe(self) -> dict[str, SplitSize]:
        """The size of each split of each member."""
        return {
            f"{name}: {split}": size
            for name, member in self.members.items()
            for split, size in member.describe().items()
        }

    def baselines(self, split: str) -> Mapping[str, Mapping[str, float]]:
        """Those of the members; a rule of several members is one."""
        found: dict[str, dict[str, float]] = {}
        for name, member in self.members.items():
            for rule, scores in member.baselines(split).items():
                found.setdefault(rule, {}).update({name_of(metric, name): score for metric, score in scores.items()})
        return found

    def prompts(self, count: int) -> list[Shown]:
        """As many of each member that writes."""
        return [shown._replace(member=name) for name, one in self.members.items() for shown in one.prompts(count)]

    def of(self, member: str | None) -> Task:
        """The member of that name."""
        assert member is not None, "a sample of a mixture says of which member it is"
        return self.members[member]

    def read(self, network: nn.Module, head: Head, batch: Batch, hidden: Tensor) -> Sequence[Any] | None:
        """What the batch's member reads; None where it reads nothing, or not while training."""
        member = batch.get("member")
        reader = self.members[str(member)].outputs
        if reader is None or not (reader.while_training or not self._is_training()):
            return None
        return reader.read(network, head.of(member), batch, hidden)

    def scores(self, split: str, outputs: Mapping[int, Any]) -> dict[str, float]:
        """The scores of the members' outputs, by name and member."""
        found: dict[str, float] = {}
        signatures: dict[str, str] = {}
        for name, member in self.members.items():
            reader = member.outputs
            if reader is None or (self._is_training() and not reader.while_training):
                continue
            own = reader.scores(split, self._own(outputs, name))
            found |= {name_of(metric, name): score for metric, score in own.items()}
            told = member.signatures.get(split, {})
            signatures |= {name_of(metric, name): signature for metric, signature in told.items()}
        self.signatures[split] = signatures
        return found

    def _is_training(self) -> bool:
        return self.trainer is not None and self.trainer.state.fn == TrainerFn.FITTING

    def predictions(self, scored: Scored) -> Iterator[Prediction]:
        """Those of the members one after the other; each line names its member."""
        for name, member in self.members.items():
            for line in member.predictions(self._part(scored, name)):
                yield Prediction(**{"member": name, **line})  # type: ignore[typeddict-item]

    def pages(self, scored: Scored) -> Mapping[str, Callable[[Path], None]]:
        """Those of the members, as `<page>-<member>`."""
        return {
            f"{page}-{name}": write
            for name, member in self.members.items()
            for page, write in member.pages(self._part(scored, name)).items()
        }

    @property
    def first_try(self) -> str | None:
        """That of the first member that can be tried."""
        for name, member in self.members.items():
            if hint := member.first_try:
                return hint.replace("{run}", f"{{run}} member={name}", 1)
        return None

    def answers(self, network: nn.Module, head: Head) -> Iterator[Prediction]:
        """Of no mixture: a member is asked."""
        raise UserError(
            f"member is not set: this run has several tasks. Set member={' or member='.join(self.members)}."
        )

    def _part(self, scored: Scored, name: str) -> Scored:
        """What was found out about a member's examples, by their own numbers."""
        return Scored(*(self._own(found, name) for found in scored))

    def _own(self, found: Mapping[int, Any], name: str) -> dict[int, Any]:
        first = self._first[name]
        return {number - first: value for number, value in found.items() if first <= number < first + APART}


def check_names(names: Iterable[str]) -> None:
    """Raises UserError for fewer than two members, and for a name that a module cannot give to a part."""
    found = list(names)
    if len(found) < 2:
        there = f"task.members has {found[0]} alone" if found else "task.members is empty"
        raise UserError(f"{there}: a mixture needs two tasks at least. Add them, e.g. {EXAMPLE}")
    for name in found:
        if not name.isidentifier() or hasattr(nn.ModuleDict, name):
            raise UserError(
                f"task.members.{name}: this cannot be the name of a member. Choose another, e.g. {name}_task."
            )


def member_weights(weights: Mapping[str, Any], names: Iterable[str]) -> dict[str, float]:
    """The weights in the order of the members. Raises UserError."""
    return checked_weights(weights, names, key="task.weights", what="member")
