from collections.abc import Sequence

from manyheads.metric.output import OutputMetric


class Longest(OutputMetric):
    name, unit, higher_is_better = "longest", "characters", True

    def score(self, outputs: Sequence[str], targets: Sequence[object]) -> float:
        return float(max(map(len, outputs)))


def test_a_score_of_a_whole_split_alone_needs_nothing_else() -> None:
    metric = Longest()
    assert metric.score(["a", "bcd"], [None, None]) == 3
    assert metric.each(["a"], [None]) is None
    assert metric.signature is None
