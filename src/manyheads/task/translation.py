"""Translation: a text in another language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, final

from manyheads.baseline.base import Baseline
from manyheads.baseline.translation import translators
from manyheads.data.fields import Fields
from manyheads.data.source import Source
from manyheads.metric.bleu import Bleu, Chrf
from manyheads.task.text_to_text import TextToText
from manyheads.tokenizer.base import Tokenizer


@final
class Translation(TextToText):
    """The column target is the translation of the column source; `references` may hold several for scoring.

    Args: see `TextToText`. Beam search is that of Vaswani et al. 2017, section 6.1, but for the length penalty.
    """

    fields = Fields(("source", "target"), optional=("references",))
    asked = Fields(("source",), optional=("target", "references"))
    output_metrics = (Bleu, Chrf)
    source_field = "source"
    target_field = "target"

    def __init__(
        self,
        *,
        source: Source,
        tokenizer: Tokenizer,
        seed: int,
        kind: str,
        batch_size: int = 64,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        shuffle: bool = True,
        max_source_tokens: int = 128,
        max_target_tokens: int = 128,
        prompt: str = "{source}\n=",
        num_beams: int = 5,
        length_penalty: float = 1.0,
        early_stopping: bool | Literal["never"] = False,
        no_repeat_ngram: int = 0,
    ) -> None:
        super().__init__(
            source=source, tokenizer=tokenizer, seed=seed, kind=kind, batch_size=batch_size,
            eval_batch_size=eval_batch_size, num_workers=num_workers, shuffle=shuffle,
            max_source_tokens=max_source_tokens, max_target_tokens=max_target_tokens, prompt=prompt,
            num_beams=num_beams, length_penalty=length_penalty, early_stopping=early_stopping,
            no_repeat_ngram=no_repeat_ngram,
        )  # fmt: skip

    @property
    def rules(self) -> Mapping[str, Baseline]:
        return translators()
