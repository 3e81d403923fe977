"""Guards: document and summary that change places, one reference taken where there are several."""

from manyheads.task.summarization import Summarization
from manyheads.testing import Rows, byte_tokenizer


def test_the_summary_is_learned_from_the_document_and_held_to_all_references() -> None:
    rows = [{"document": "long text", "summary": "short", "references": ["brief", "short"]}]
    source = Rows({"train": rows, "validation": rows, "test": rows})
    source.ask(Summarization.fields)
    task = Summarization(source=source, tokenizer=byte_tokenizer(), seed=1, kind="causal")
    found = source.rows("test")[:]
    assert (task.inputs(found), task.target_texts(found), task.targets(found)) == (
        ["long text"], ["short"], [["brief", "short"]],
    )  # fmt: skip
    assert task.scores("test", {0: "brief"})["rouge_1"] == 100.0
    assert [metric.name for metric in task.scorers()] == ["rouge_1", "rouge_2", "rouge_l", "rouge_lsum"]
