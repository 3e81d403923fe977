"""How many tokens the model hesitates between, on average."""

from __future__ import annotations

from torch import Tensor

from manyheads.metric.base import PerToken


class Perplexity(PerToken):
    """exp(sum of the losses / count of the labels): of the whole split, so it does not move with the batch size.

    Source: Jelinek, Mercer, Bahl, Baker, "Perplexity - a measure of the difficulty of speech recognition tasks", 1977.
    """

    name = "perplexity"
    unit = "tokens"
    higher_is_better = False

    def compute(self) -> Tensor:
        """Perplexity per token, []."""
        return self.mean().exp()
