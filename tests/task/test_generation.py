"""Generation: every byte and label once whatever the settings, and what a user is told."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from manyheads.batch import IGNORE, NO_EXAMPLE, Batch
from manyheads.build import CONF_DIR, build
from manyheads.data.files import files
from manyheads.data.mixture import mixture
from manyheads.data.source import Source
from manyheads.errors import UserError
from manyheads.head.base import HeadOutput
from manyheads.head.next_token import NextToken
from manyheads.metric.bits_per_byte import BitsPerByte
from manyheads.metric.stretches import stretches_of
from manyheads.model.lstm import LSTM
from manyheads.scored_lm import ScoredLM
from manyheads.task.base import Scored
from manyheads.task.generation import Generation
from manyheads.testing import Rows
from manyheads.tokenizer.byte import byte

# one to four bytes a character, combining marks, a NUL, line breaks of all kinds, an empty row, long and short ones
UNICODE = [
    "plain",
    "",
    "Übergröße",
    "日本語のテキスト",
    "e\u0301\u0323 combining",
    "🙂👩‍👩‍👧‍👦 family",
    "a\0b",
    "x",
    "line\r\nbreaks\u2028\u0085\n",
    "<|endoftext|> is text here",
    "long " * 40,
    "ﬁ ﷽ \ufeff",
]
END = 256

Make = Callable[..., Generation]


@pytest.fixture
def make(texts: Callable[..., Source]) -> Make:
    def task(rows, *, join_rows: bool = False, **settings) -> Generation:
        source = texts(rows, join_rows=join_rows)
        return Generation(source=source, tokenizer=byte(source=source), seed=1, **settings)

    return task


def scored(batches: list[Batch]) -> tuple[int, int, dict[int, list[int]]]:
    """Bytes, labels, and the labels of each example in the order in which they came."""
    found: dict[int, list[int]] = {}
    labels = 0
    for batch in batches:
        kept = batch["labels"] != IGNORE
        labels += int(kept.sum())
        assert (batch["examples"][kept] != NO_EXAMPLE).all()
        for example, label in zip(batch["examples"][kept].tolist(), batch["labels"][kept].tolist(), strict=True):
            found.setdefault(example, []).append(label)
    return sum(int(batch["num_bytes"].sum()) for batch in batches), labels, found


@pytest.mark.parametrize("join_rows", [False, True])
@pytest.mark.parametrize("seq_len", [1, 2, 3, 7, 64, 1000])
def test_every_byte_and_label_is_scored_once(make: Make, seq_len: int, join_rows: bool):
    """Guards: a tail dropped at the end of a window, text or batch, and context counted twice, over a grid."""
    documents = ["".join(UNICODE)] if join_rows else [text for text in UNICODE if text]
    num_bytes = sum(len(text.encode()) for text in UNICODE)
    expected = {i: sorted([*text.encode(), END]) for i, text in enumerate(documents)}
    strides = [None, *{1, seq_len // 2, seq_len - 1} - {0}]
    if seq_len > 7:
        strides.remove(1)
    for stride, (batch_size, pack) in itertools.product(strides, ((1, True), (3, False), (50, True))):
        task = make(UNICODE, join_rows=join_rows, seq_len=seq_len, stride=stride, eval_batch_size=batch_size, pack=pack)
        for loader in (task.val_dataloader(), task.test_dataloader()):
            total_bytes, total_labels, found = scored(list(loader))
            assert (total_bytes, total_labels) == (num_bytes, num_bytes + len(documents)), (stride, batch_size, pack)
            assert {example: sorted(labels) for example, labels in found.items()} == expected


def test_ranks_and_workers_score_each_byte_once(make: Make, monkeypatch: pytest.MonkeyPatch):
    """Guards: rows that a padded sampler doubles, and rows that two ranks leave to each other."""
    world = 3
    monkeypatch.setattr(Generation, "_rank", lambda self: (rank, world))
    parts = []
    for rank in range(world):
        parts += list(make(UNICODE, seq_len=16, eval_batch_size=2, num_workers=rank).val_dataloader())
    num_bytes = sum(len(text.encode()) for text in UNICODE)
    assert scored(parts)[:2] == (num_bytes, num_bytes + 11)


@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_training_sees_every_label_once_an_epoch(make: Make, pack: bool, num_workers: int):
    """Guards: text that packing, shuffling or a worker loses; a segment that does not go on where its text does."""
    for seq_len, batch_size in ((1, 16), (5, 3), (64, 2), (1000, 4)):
        task = make(UNICODE, seq_len=seq_len, batch_size=batch_size, pack=pack, num_workers=num_workers)
        labels, pairs = [], []
        for batch in task.train_dataloader():
            kept = batch["labels"] != IGNORE
            assert batch["input_ids"].shape[1] <= seq_len
            labels += batch["labels"][kept].tolist()
            pairs += zip(batch["input_ids"][kept].tolist(), batch["labels"][kept].tolist(), strict=True)
        texts = [[END, *text.encode(), END] for text in UNICODE if text]
        assert sorted(labels) == sorted(itertools.chain(*(text[1:] for text in texts)))
        assert sorted(pairs) == sorted(itertools.chain(*(itertools.pairwise(text) for text in texts)))
        assert len(labels) == task.tokens_per_epoch


def test_packing_saves_rows(make: Make):
    """Guards: pack=true that packs nothing."""
    packed, single = (
        len(make(UNICODE, seq_len=64, batch_size=1, pack=pack).train_dataloader()) for pack in (True, False)
    )
    sizes = [len(text.encode()) + 1 for text in UNICODE if text]
    assert packed == math.ceil(sum(sizes) / 64) == 6
    assert single == sum(math.ceil(size / 64) for size in sizes) == 14


def test_describe_counts_rows_bytes_and_tokens(make: Make):
    """Guards: empty rows or the ends of texts miscounted on the screen."""
    task = make({"train": ["ä", "", "bc"], "validation": ["d"], "test": ["ef"]})
    assert task.describe() == {
        "train": {"rows": 3, "bytes": 4, "tokens": 6},
        "validation": {"rows": 1, "bytes": 1, "tokens": 2},
        "test": {"rows": 1, "bytes": 2, "tokens": 3},
    }
    assert "1 of 3 rows of train are empty and left out." in task.notes


def test_prompts_are_beginnings_of_texts(make: Make):
    """Guards: half a character, text of the next document, the same text for each sample, or another one next time."""
    task = make({"validation": ["日本" * 40, "first", "", "second", "third", "fourth"]})

    def shown(count: int) -> list[str]:
        return [one.prompt for one in task.prompts(count)]

    assert shown(1) == [("日本" * 40)[:32]]
    assert shown(3) == [("日本" * 40)[:32], "second", "fourth"]
    assert task.prompts(2) == task.prompts(2)
    joined = make({"validation": ["one\n", "two\n", "three\n"]}, join_rows=True)
    assert [one.prompt for one in joined.prompts(3)] == ["one\ntwo\nthree\n", "two\nthree\n", "three\n"]


def test_predictions_are_the_tests_texts(make: Make):
    """Guards: losses paired with another text's bytes, and a text scored in part that passes for whole."""
    task = make({"test": ["ab", "", "äöü", "x"]})
    rows = list(task.predictions(Scored({1: 12.0, 0: 3.0, 2: 1.0}, {1: 7, 0: 3, 2: 1}, {})))
    assert [(row["id"], row["loss"], row["tokens"], row["bytes"]) for row in rows] == [(0, 3.0, 3, 2), (1, 12.0, 7, 6)]
    assert rows[1]["bits_per_byte"] == pytest.approx(12.0 / 0.6931471805599453 / 6, rel=1e-15)


def test_bits_per_byte_of_a_uniform_guess(make: Make):
    """Guards: a yardstick that moves with the settings; 1 bit a label is (bytes + texts) / bytes whatever they are."""
    for settings in ({"seq_len": 5}, {"seq_len": 16, "stride": 3}, {"seq_len": 1000, "eval_batch_size": 5}):
        metric = BitsPerByte()
        for batch in make(UNICODE, **settings).val_dataloader():
            count = (batch["labels"] != IGNORE).sum()
            metric.update(HeadOutput(count * torch.tensor(2.0).log(), count), batch)
        num_bytes = sum(len(text.encode()) for text in UNICODE)
        assert metric.compute().item() == pytest.approx((num_bytes + 11) / num_bytes, rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "task.batch_size=0: set a number of at least 1."),
        ({"eval_batch_size": -1}, "task.eval_batch_size=-1: set a number of at least 1."),
        ({"seq_len": 0}, "task.seq_len=0: set a number of at least 1."),
        ({"num_workers": -1}, "task.num_workers=-1: set a number of at least 0."),
        ({"stride": 0}, "task.stride=0: set a number from 1 to 256. The upper end is task.seq_len."),
        ({"stride": 9, "seq_len": 8}, "task.stride=9: set a number from 1 to 8. The upper end is task.seq_len."),
    ],
)
def test_numbers_out_of_range_are_refused_at_once(make: Make, settings: dict[str, int], message: str):
    """Guards: a traceback from numpy in place of the key to change, and data read before it."""
    with pytest.raises(UserError) as error:
        make([], **settings)
    assert str(error.value) == message


def test_a_split_without_text_is_refused(make: Make):
    """Guards: a score of nan over nothing at the end of a long run."""
    task = make({"train": ["a"], "validation": ["b"], "test": ["", ""]})
    with pytest.raises(UserError, match=r"data \(texts\): the test split holds no text, only 2 empty rows"):
        task.prepare()
    task.prepare(["train", "validation"])


def test_more_ranks_than_rows_are_refused(make: Make, monkeypatch: pytest.MonkeyPatch):
    """Guards: ranks that wait for ever for one that has nothing to train on."""
    monkeypatch.setattr(Generation, "_rank", lambda self: (0, 4))
    with pytest.raises(UserError, match=r"trainer.devices: 4 devices.* only 1 rows"):
        make(["short"]).train_dataloader()


def test_the_perplexity_per_word_by_hand(make: Make):
    """Three words in two texts of 5 + 1 and 3 + 1 labels, the ends of texts among them; none where labels are missing."""
    task = make(["a  bc", "d, "])
    assert task.num_words("test") == 3
    whole = Scored({0: 4.0, 1: 2.0}, {0: 6, 1: 4}, {})
    assert task.of_split("test", whole) == {"perplexity_per_word": pytest.approx(math.exp(6 / 3))}
    assert task.of_split("test", Scored({0: 4.0}, {0: 6}, {})) == {}


def test_a_score_of_the_end_picks_no_checkpoint(make: Make):
    """Guards a training that breaks at its first validation."""
    with pytest.raises(UserError) as error:
        make(["a"]).watch("val/perplexity_per_word")
    assert str(error.value) == (
        "callbacks.monitor=val/perplexity_per_word is computed at the end alone. Set callbacks.monitor=val/bits_per_byte, "
        "which orders checkpoints as it would."
    )


def test_the_yaml_builds_it(texts: Callable[..., Source], tmp_path: Path):
    """Guards: a yaml that names another class or a key that is gone."""
    node = OmegaConf.load(CONF_DIR / "task" / "generation.yaml")
    source = texts(["a"])
    assert isinstance(build(node, "task", source=source, tokenizer=byte(source=source), seed=0), Generation)


# rows that go on


@pytest.mark.parametrize("join_rows", [False, True])
@pytest.mark.parametrize("seq_len", [1, 7, 1000])
@pytest.mark.parametrize("eval_batch_size", [1, 3, 50])
def test_carried_on_every_byte_and_label_is_scored_once(
    make: Make, seq_len: int, eval_batch_size: int, join_rows: bool, monkeypatch: pytest.MonkeyPatch
):
    """Guards: a text that is cut, or whose rest has no row; on ranks too, which have as many batches each."""
    documents = ["".join(UNICODE)] if join_rows else [text for text in UNICODE if text]
    num_bytes = sum(len(text.encode()) for text in UNICODE)
    expected = {i: [*text.encode(), END] for i, text in enumerate(documents)}
    for world in (1, 3):
        parts = []
        for rank in range(world):
            monkeypatch.setattr(Generation, "_rank", lambda self, rank=rank, world=world: (rank, world))
            task = make(UNICODE, join_rows=join_rows, seq_len=seq_len, eval_batch_size=eval_batch_size, carry=True)
            parts.append(list(task.test_dataloader()))
        assert len({len(part) for part in parts}) == 1
        total_bytes, total_labels, found = scored([batch for part in parts for batch in part])
        assert (total_bytes, total_labels) == (num_bytes, num_bytes + len(documents))
        assert found == expected  # in order, since a text is in one lane


@pytest.mark.parametrize("num_workers", [0, 1])
def test_carried_on_training_sees_every_label_once_an_epoch(make: Make, num_workers: int):
    task = make(UNICODE, seq_len=5, batch_size=3, carry=True, num_workers=num_workers)
    loader = task.train_dataloader()
    epochs = []
    for epoch in range(2):
        loader.order.set_epoch(epoch)
        epochs.append([batch["labels"][batch["labels"] != IGNORE].tolist() for batch in loader])
    texts = [[*text.encode(), END] for text in UNICODE if text]
    for labels in epochs:
        assert sorted(itertools.chain(*labels)) == sorted(itertools.chain(*texts))
        assert len(labels) == len(loader) == math.ceil(math.ceil(task.tokens_per_epoch / 3) / 5)
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("parts", [(4, 1), (1, 4), (2, 2), (2, 1)])
def test_ranks_and_micro_batches_share_the_lanes_of_one_batch(
    make: Make, parts: tuple[int, int], monkeypatch: pytest.MonkeyPatch
):
    """Guards: another order on more ranks, and a micro-batch that goes on with the lanes of the one before it in its step."""

    def rows(batch_size: int, rank: int, world: int, micro_batches: int) -> list[tuple[int, list[int]]]:
        monkeypatch.setattr(Generation, "_rank", lambda self: (rank, world))
        task = make(UNICODE, seq_len=5, batch_size=batch_size, carry=True)
        task.trainer = SimpleNamespace(  # type: ignore[assignment]
            accumulate_grad_batches=micro_batches, strategy=SimpleNamespace(root_device=torch.device("cpu"))
        )
        return [
            (lane, ids)
            for batch in task.train_dataloader()
            for lane, ids in zip(batch["lanes"].tolist(), batch["input_ids"].tolist(), strict=True)
        ]

    def by_lane(found: list[tuple[int, list[int]]]) -> dict[int, list[int]]:
        lanes: dict[int, list[int]] = {}
        for lane, ids in found:
            lanes.setdefault(lane, []).extend(token for token in ids if token != END)  # END is padding too
        return lanes

    world, micro_batches = parts
    batch_size = 4 // (world * micro_batches)
    found = [one for rank in range(world) for one in rows(batch_size, rank, world, micro_batches)]
    assert by_lane(found) == by_lane(rows(4, 0, 1, 1))


def test_a_resume_goes_on_with_the_very_rows_of_its_lanes(make: Make):
    task = make(UNICODE, seq_len=5, batch_size=3, carry=True)
    batches = iter(task.train_dataloader())
    for _ in range(4):
        next(batches)
    place, rest = task.state_dict(), list(batches)
    again = make(UNICODE, seq_len=5, batch_size=3, carry=True)
    again.load_state_dict(place)
    for one, other in zip(rest, again.train_dataloader(), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in ("input_ids", "labels", "positions", "lanes"))
    assert again.closing_notes == []
    other = make(UNICODE, seq_len=5, batch_size=2, carry=True)
    other.load_state_dict(place)
    assert (next(iter(other.train_dataloader()))["positions"][:, 0] == 0).all()
    assert "was begun anew, since it was in 3 lanes" in other.closing_notes[0]


def test_bits_per_byte_of_short_rows_carried_on_is_that_of_whole_texts(make: Make):
    """Guards a state that is lost or taken up where it should not be; whatever the rows and the lanes are."""
    torch.manual_seed(0)
    network = LSTM(vocab_size=257, dim=8, num_layers=2)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    lm = ScoredLM(network=network, head=NextToken(dim=8, vocab_size=257, init_std=0.5), metrics=(BitsPerByte,)).eval()

    def score(**settings) -> float:
        task = make(UNICODE, **settings)
        with torch.inference_mode():
            for batch in task.val_dataloader():
                lm.validation_step(batch, 0)
        (metric,) = lm.val_metrics.values()
        value = metric.compute().item()  # type: ignore[operator]
        metric.reset()  # type: ignore[operator]
        return value

    whole = score(seq_len=1000, eval_batch_size=4)
    for seq_len, eval_batch_size in ((1, 2), (3, 1), (16, 5), (64, 50)):
        assert score(seq_len=seq_len, eval_batch_size=eval_batch_size, carry=True) == pytest.approx(whole, abs=1e-5)
    assert abs(score(seq_len=16) - whole) > 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stride": 2}, "task.stride=2: task.carry=true lays texts one after the other in lanes, where each label has its "
         "whole text before it. Leave it out."),
        ({"pack": False}, "task.pack=false: task.carry=true lays texts one after the other in lanes, which fills each row. "
         "Set task.pack=true."),
    ],
)  # fmt: skip
def test_what_has_no_meaning_where_rows_go_on_is_refused(make: Make, settings: dict[str, int], message: str):
    with pytest.raises(UserError) as error:
        make([], carry=True, **settings)
    assert str(error.value) == message


def test_data_that_cannot_lie_in_lanes_is_refused(texts: Callable[..., Source], tmp_path: Path):
    (tmp_path / "t.txt").write_text("a\nb\n")
    stream = files(format="text", path=str(tmp_path / "t.txt"), streaming=True, join_rows=False)
    sources = {name: Rows({"train": [name], "validation": ["x"], "test": ["y"]}) for name in ("a", "b")}
    mixed = mixture(sources=sources, weights={"a": 1, "b": 2})
    for source, key in ((stream, "data.streaming=true: "), (mixed, "data.weights: ")):
        with pytest.raises(UserError) as error:
            Generation(source=source, tokenizer=byte(source=source), seed=1, carry=True)
        assert str(error.value).startswith(f"{key}task.carry=true lays texts one after the other in lanes,")
    whole = mixture(sources=sources)
    task = Generation(source=whole, tokenizer=byte(source=whole), seed=1, carry=True, seq_len=2, batch_size=2)
    labels = [batch["labels"] for batch in task.train_dataloader()]
    assert sorted(torch.cat([part.flatten() for part in labels]).tolist()) == sorted([*b"ab", END, END])


def test_more_lanes_than_tokens_are_refused(make: Make):
    with pytest.raises(UserError) as error:
        make(["abc"], carry=True, batch_size=5).train_dataloader()
    assert str(error.value) == (
        "task.batch_size=5: a step of 1 batches on 1 devices has 5 rows, and the train split 4 tokens. "
        "Set a smaller task.batch_size."
    )


@pytest.mark.parametrize("settings", [{"seq_len": 16}, {"seq_len": 64, "stride": 20}, {"seq_len": 16, "carry": True}])
def test_losses_by_place_are_over_every_label_and_byte(make: Make, settings: dict[str, int], tmp_path: Path):
    """Guards a label at another place than the network read it at: a text of a batch is compared with what the data says."""
    task = make(UNICODE, by_place=True, **settings)
    labels: dict[int, int] = {}
    for batch in task.test_dataloader():
        kept = stretches_of(batch)[batch["labels"] != IGNORE]
        for stretch in kept.tolist():
            labels[stretch] = labels.get(stretch, 0) + 1
    scored = Scored({}, {}, {}, dict.fromkeys(labels, 1.0), labels)
    (write,) = task.pages(scored).values()
    write(tmp_path / "by_place.html")
    rows = [line.split(",") for line in (tmp_path / "by_place.csv").read_text().splitlines()[1:]]
    assert sum(int(row[2]) for row in rows) == sum(labels.values())
    assert sum(int(row[3]) for row in rows) == sum(len(text.encode()) for text in UNICODE)
    assert task.pages(scored._replace(stretch_labels={0: 3})) == {}
    assert make(UNICODE, **settings).pages(scored) == {}
