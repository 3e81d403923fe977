"""Beam search: the likeliest of the texts that a few best beginnings lead to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor, nn

from manyheads.decoding.constraint import Constraint, Rules
from manyheads.decoding.reader import Reader, eval_mode
from manyheads.decoding.sampling import DIVERGED, NEVER
from manyheads.errors import UserError, check_count, check_range, written


class Hypothesis(NamedTuple):
    """One text that the search has found."""

    tokens: list[int]  # the new ones, without the end token
    score: float  # the sum of the tokens' log-probabilities in nats, the end's included, / their number**length_penalty


@final
@dataclass(frozen=True, kw_only=True)
class Search:
    """How beams are kept and compared; see `beam_search`. Raises UserError for a value out of range."""

    num_beams: int
    num_return: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False

    def __post_init__(self) -> None:
        check_count("num_beams", self.num_beams)
        check_count("num_return", self.num_return)
        if self.num_return > self.num_beams:
            raise UserError(
                f"num_return={self.num_return} is more than num_beams={self.num_beams}: set at most as many as there are beams."
            )
        check_range("length_penalty", self.length_penalty)
        if not (isinstance(self.early_stopping, bool) or self.early_stopping == "never"):
            raise UserError(f"early_stopping={written(self.early_stopping)}: set true, false or never.")

    def score(self, total: float, length: int) -> float:
        """The score of a text whose `length` tokens have log-probabilities that sum to `total`."""
        return total / length**self.length_penalty

    def is_over(self, live: Sequence[_Beam], done: Sequence[Hypothesis], most: int) -> bool:
        """Whether nothing that a live beam may yet become is waited for; `most` is the longest that one can become."""
        if not live:
            return True
        if len(done) < self.num_beams:
            return False
        if self.early_stopping is True or self.num_beams == 1:
            return True
        length = most if self.early_stopping == "never" and self.length_penalty > 0 else len(live[0].new)
        return self.score(live[0].total, length) <= done[-1].score


def beam_search(
    network: nn.Module,
    head: nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    end_id: int,
    max_new_tokens: int,
    num_beams: int,
    num_return: int = 1,
    length_penalty: float = 1.0,
    early_stopping: bool | Literal["never"] = False,
    no_repeat_ngram: int = 0,
    context: int | None = None,
    sources: Sequence[Sequence[int]] | None = None,
    allowed: Constraint | None = None,
    use_cache: bool = True,
) -> list[list[Hypothesis]]:
    """The best texts after each prompt, best first: `num_return`, or fewer where fewer are possible.

    At each step the 2 `num_beams` best continuations of a prompt's beams are looked at. Of those among the first `num_beams`
    that end, the best `num_beams` so far are kept as hypotheses; the best `num_beams` that do not end are the next beams. At
    `max_new_tokens` beams count as they are. A prompt is done, with `num_beams` hypotheses, when `early_stopping` is True; when it
    is False, once the best beam's score at its present length is no better than the worst hypothesis; when it is
    "never", once it would be no better at the length that favours it most. One beam is greedy choice: its first end counts.

    A score is the sum of log-probabilities / length**length_penalty, the length that of the new tokens with the end
    token. That is transformers' definition, and so are texts and scores; it is not ((5 + length) / 6)**penalty of Wu et
    al. 2016 (arXiv 1609.08144, section 7). `allowed` and `no_repeat_ngram` (see `generate.steps`, as `context`, `sources` and
    what a network needs) keep tokens out and leave the log-probabilities of the others as they are.

    No prompt changes another one's texts. Raises UserError for a value out of range, and for a prompt after which no token
    is allowed.
    """
    check_count("max_new_tokens", max_new_tokens)
    search = Search(
        num_beams=num_beams, num_return=num_return, length_penalty=length_penalty, early_stopping=early_stopping
    )
    rules = Rules(allowed=allowed, no_repeat_ngram=no_repeat_ngram)
    found = [_Prompt(search, end_id, prompt, max_new_tokens) for prompt in prompts]
    with eval_mode(network, head):
        reader = Reader(network, head, context=context, pad=end_id, use_cache=use_cache, sources=sources)
        going, parents = found, list(range(len(found)))
        for remaining in range(max_new_tokens, 0, -1):
            if not going:
                break
            beams = [beam for prompt in going for beam in prompt.live]
            logits = reader.read([beam.window for beam in beams], parents, remaining)
            options = _options(logits, beams, rules, 2 * num_beams)
            parents, first = [], 0
            for prompt in going:
                end = first + len(prompt.live)
                parents += [first + parent for parent in prompt.advance(options[first:end])]
                first = end
            going = [prompt for prompt in going if prompt.live]
    for prompt in found:
        if not prompt.done:
            raise rules.dead_end(prompt.length - 1)
    return [prompt.done[:num_return] for prompt in found]


class _Option(NamedTuple):
    """A token that may follow, and the sum of the log-probabilities up to it."""

    total: float
    token: int


class _Beam(NamedTuple):
    """One beginning of a text."""

    prompt: Sequence[int]
    new: list[int]
    window: list[int]  # what the network reads
    total: float  # nats

    def then(self, option: _Option) -> _Beam:
        """This beam and one more token."""
        new, window = [*self.new, option.token], [*self.window, option.token]
        return _Beam(self.prompt, new, window, option.total)


class _Prompt:
    """The beams after one prompt, best first, and the texts that have ended."""

    def __init__(self, search: Search, end_id: int, prompt: Sequence[int], most: int) -> None:
        self.search, self.end_id, self.most = search, end_id, most
        self.live = [_Beam(prompt, [], [end_id, *prompt], 0.0)]
        self.done: list[Hypothesis] = []
        self.length = 0  # new tokens of each beam

    def advance(self, options: Sequence[Sequence[_Option]]) -> list[int]:
        """Goes on with each beam's best options; returns the beam that each of the new beams comes from."""
        best = [(option, parent) for parent, each in enumerate(options) for option in each]
        best.sort(key=lambda pair: (-pair[0].total, pair[1], pair[0].token))
        count = self.search.num_beams
        self.length += 1
        last = self.length == self.most
        for option, parent in best[:count]:
            if last or option.token == self.end_id:
                tokens = [*self.live[parent].new, *([option.token] if option.token != self.end_id else [])]
                self.done.append(Hypothesis(tokens, self.search.score(option.total, self.length)))
        self.done = sorted(self.done, key=lambda hypothesis: -hypothesis.score)[:count]
        kept = [pair for pair in best[: 2 * count] if pair[0].token != self.end_id and not last][:count]
        self.live = [self.live[parent].then(option) for option, parent in kept]
        if self.search.is_over(self.live, self.done, self.most):
            self.live = []
        return [parent for _, parent in kept[: len(self.live)]]


def _options(logits: Tensor, beams: Sequence[_Beam], rules: Rules, count: int) -> list[list[_Option]]:
    """The best `count` tokens after each beam, where so many are allowed."""
    scores = logits.float().log_softmax(-1)  # [B, V]
    if bool(scores.isnan().any()):
        raise UserError(DIVERGED)
    scores = rules.apply(scores, [beam.prompt for beam in beams], [beam.new for beam in beams])
    totals = scores + torch.tensor([beam.total for beam in beams], device=scores.device)[:, None]
    best = totals.topk(min(count, totals.shape[-1]))
    pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    return [[_Option(*pair) for pair in zip(*row, strict=True) if pair[0] != NEVER] for row in pairs]
