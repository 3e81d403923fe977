"""Guards: source and target that change places, and scores that are not the official ones."""

from manyheads.task.translation import Translation
from manyheads.testing import Rows, byte_tokenizer


def test_the_target_is_learned_from_the_source_and_scored_as_sacrebleu_does() -> None:
    rows = [{"source": "Hund", "target": "dog"}]
    source = Rows({"train": rows, "validation": rows, "test": rows})
    source.ask(Translation.fields)
    task = Translation(source=source, tokenizer=byte_tokenizer(), seed=1, kind="encoder-decoder")
    assert (task.inputs(rows_of(source)), task.targets(rows_of(source))) == (["Hund"], [["dog"]])
    assert [metric.name for metric in task.scorers()] == ["bleu", "chrf"]
    assert task.monitor == "val/bits_per_byte"


def rows_of(source: Rows):
    return source.rows("test")[:]
