"""Translation: a text in another language."""

from __future__ import annotations

import typing
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

from manyheads.baseline.base import Baseline
from manyheads.baseline.translation import translators
from manyheads.data.directions import SOURCE_LANGUAGE, TARGET_LANGUAGE, Directed, Direction
from manyheads.data.fields import Fields
from manyheads.data.source import SPLITS, Source
from manyheads.data.split import BATCH_ROWS, batches_of
from manyheads.errors import UserError, check_choice, did_you_mean
from manyheads.metric.bleu import Bleu, Chrf
from manyheads.task.base import Scored
from manyheads.task.text_to_text import TextToText
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.special import ids_of, with_special

LANGUAGE_COLUMNS = (SOURCE_LANGUAGE, TARGET_LANGUAGE)


@final
class Translation(TextToText):
    """The column target is the translation of the column source; `references` may hold several for scoring.

    Where there are several languages to translate into, a token such as <|2en|> stands before each source and names the
    one that is asked for (Johnson et al. 2017, section 3); the tokenizer of the checkpoint has these tokens. That is so
    with direction=both, and with rows that say their target_language, between as many languages as there are.
    Outputs are scored as they are decoded, but for white space at both ends: nothing else is put right. Beam search is that
    of Vaswani et al. 2017, section 6.1, but for the length penalty.

    Args:
        source, tokenizer, seed, kind: see `TextToText`, as for all that is not named here.
        direction: forward, from source to target; backward; or both, which makes two examples of each row.
        languages: the names of source and target, e.g. [de, en], which tags and scores are called by. Of rows that say
            their languages, all of them; None: those that stand in train.

    Raises:
        UserError: see `TextToText`; both directions of languages without names; a row whose language is none of them.
    """

    fields = Fields(("source", "target"), optional=("references", *LANGUAGE_COLUMNS))
    asked = Fields(("source",), optional=("target", "references", *LANGUAGE_COLUMNS))
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
        bpe_dropout: float = 0.0,
        choices: Sequence[str] | None = None,
        regex: str | None = None,
        direction: Direction = "forward",
        languages: Sequence[str] | None = None,
    ) -> None:
        check_choice("task.direction", direction, typing.get_args(Direction))
        said = TARGET_LANGUAGE in source.rows(next(split for split in SPLITS if split in source.given)).column_names
        self.direction: Direction = direction
        self.languages = list(languages) if languages else _languages_of(source) if said else None
        if not said:
            _check_pair(direction, self.languages)
        self.tagged = said or direction == "both"
        self.num_tags = int(self.tagged)
        if self.tagged:
            assert self.languages is not None
            tokenizer = with_special(tokenizer, [tag_of(language) for language in self.languages])
        super().__init__(
            source=Directed(source, direction, None if said else self.languages),
            tokenizer=tokenizer, seed=seed, kind=kind, batch_size=batch_size,
            eval_batch_size=eval_batch_size, num_workers=num_workers, shuffle=shuffle,
            max_source_tokens=max_source_tokens, max_target_tokens=max_target_tokens, prompt=prompt,
            num_beams=num_beams, length_penalty=length_penalty, early_stopping=early_stopping,
            no_repeat_ngram=no_repeat_ngram, bpe_dropout=bpe_dropout, choices=choices, regex=regex,
        )  # fmt: skip

    @property
    def rules(self) -> Mapping[str, Baseline]:
        return translators()

    @property
    def recipe(self) -> list[Any]:
        return [*super().recipe, self.direction, self.languages if self.tagged else None]

    @property
    def found(self) -> dict[str, dict[str, Any]]:
        return {"task": {"languages": self.languages}} if self.tagged else {}

    def tags(self, rows: Mapping[str, list[Any]]) -> list[list[int]]:
        if not self.tagged:
            return super().tags(rows)
        return [ids_of(self.tokenizer, [tag_of(self._known(language))]) for language in rows[TARGET_LANGUAGE]]

    def _known(self, language: str | None) -> str:
        known = self.languages or []
        if language not in known:
            raise UserError(
                f"data ({self.source.name}): {TARGET_LANGUAGE} {language} is none of task.languages={_listed(known)}."
                f"{did_you_mean(str(language), known)} Mend the row, or set task.languages."
            )
        return language

    def by_source(self, split: str, scored: Scored) -> dict[str, float]:
        """The scores of each of several directions, e.g. bleu/de-en."""
        if not self.tagged:
            return {}
        found = self.joined(split, scored.outputs)
        chosen, targets = self.held_to(split, found)
        rows = self.source.rows(split)[chosen] if chosen else {}
        places: dict[str, list[int]] = defaultdict(list)
        for place, name in enumerate(_directions(rows)):
            places[name].append(place)
        if len(places) < 2:
            return {}
        outputs = [found[row] for row in chosen]
        return {
            f"{metric.name}/{name}": metric.score([outputs[i] for i in there], [targets[i] for i in there])
            for metric in self.scorers()
            for name, there in sorted(places.items())
        }


def tag_of(language: str) -> str:
    """The token that asks for a language, before a source."""
    return f"<|2{language}|>"


def _directions(rows: Mapping[str, list[Any]]) -> list[str]:
    """From which language each row goes to which, e.g. de-en; only to which, where no more is said."""
    to = rows.get(TARGET_LANGUAGE, [])
    known = rows.get(SOURCE_LANGUAGE, [None] * len(to))
    return [f"{one}-{other}" if one else other for one, other in zip(known, to, strict=True)]


def _check_pair(direction: Direction, languages: Sequence[str] | None) -> None:
    """Raises UserError unless names that are needed or given are those of two languages."""
    if languages is None and direction == "both":
        raise UserError(
            "task.direction=both: tags need the names of source and target. Set e.g. task.languages=[de,en]."
        )
    if languages is not None and (len(languages) != 2 or len(set(languages)) != 2):
        raise UserError(
            f"task.languages={_listed(languages)}: set two names, of source and target, e.g. [de,en]. More are for rows "
            f"that say them: set data.columns.{SOURCE_LANGUAGE} and data.columns.{TARGET_LANGUAGE}."
        )


def _languages_of(source: Source) -> list[str]:
    """Those that stand in the rows of train, in order of the alphabet. Raises UserError for a row that does not say its own."""
    split = next(split for split in SPLITS if split in source.given)
    columns = [name for name in LANGUAGE_COLUMNS if name in source.rows(split).column_names]
    found: set[str] = set()
    for values in batches_of(lambda: source.rows(split), columns, BATCH_ROWS):
        for name, languages in zip(columns, values, strict=True):
            if None in languages:
                raise UserError(f"data ({source.name}): a row of {split} has no {name}. Mend it, or leave it out.")
            found |= set(languages)
    return sorted(found)


def _listed(names: Sequence[str]) -> str:
    return f"[{','.join(names)}]"
