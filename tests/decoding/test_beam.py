"""Guards the search: which texts are found and with which scores, against transformers, against all texts there are, and by hand."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from manyheads.batch import Batch
from manyheads.decoding.beam import Hypothesis, beam_search
from manyheads.decoding.generate import generate
from manyheads.errors import UserError
from manyheads.head.next_token import NextToken
from manyheads.model.decoder import Decoder
from manyheads.model.hugging_face import to_hugging_face
from manyheads.testing import scripted

V, END = 23, 0
PROMPTS = [[3, 5, 7, 2, 9, 20], [], [11], [4, 4, 4]]
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"num_kv_heads": 2, "tie_embeddings": False},
    "gpt2": {
        "norm": "layernorm", "bias": True, "activation": "gelu_tanh", "positions": "learned", "max_positions": 40,
        "tie_embeddings": False,
    },
}  # fmt: skip


def made(kind: str = "llama", vocab_size: int = V, seed: int = 1, **settings: Any) -> tuple[Decoder, NextToken]:
    """Weights of 0.4, so that no continuation is sure, and an end that comes after a few tokens as well as late."""
    torch.manual_seed(seed)
    shape = SHAPES[kind] | settings
    network = Decoder(vocab_size=vocab_size, dim=16, num_layers=2, num_heads=4, init_std=0.4, **shape)
    head = NextToken(dim=16, vocab_size=vocab_size, init_std=0.35)
    return network.eval(), head


def theirs(network: Decoder, head: NextToken) -> Any:
    import transformers

    config, tensors = to_hugging_face(network, head, end_id=END)
    kind = {"llama": transformers.LlamaConfig, "gpt2": transformers.GPT2Config}[config["model_type"]]
    rest = {key: value for key, value in config.items() if key not in ("architectures", "model_type")}
    model = getattr(transformers, config["architectures"][0])(kind(**rest, attn_implementation="eager")).eval()
    model.load_state_dict(tensors)
    return model


def their_search(model: Any, prompt: list[int], **settings: Any) -> list[tuple[list[int], float]]:
    ids = torch.tensor([[END, *prompt]])
    found = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, pad_token_id=END, return_dict_in_generate=True,
        output_scores=True, **settings,
    )  # fmt: skip
    rows = found.sequences[:, ids.shape[1] :].tolist()
    rows = [row[: row.index(END)] if END in row else row for row in rows]
    return list(zip(rows, found.sequences_scores.tolist(), strict=True))


LENGTH = 9
GRID = [
    *itertools.product((2, 4), (1.0, -0.5, 2.0), (False, True, "never"), (0,)),
    (3, 0.0, "never", 2), (3, 0.6, False, 3), (5, 1.5, "never", 2), (11, 0.7, False, 0),
]  # fmt: skip
"""num_beams, length_penalty, early_stopping, no_repeat_ngram."""


@pytest.mark.parametrize(
    ("kind", "seed"), [pytest.param(*pair, marks=pytest.mark.slow) for pair in (("llama", 10), ("gpt2", 7))]
)
def test_texts_and_scores_are_those_of_transformers(kind: str, seed: int) -> None:
    network, head = made(kind, seed=seed)
    model = theirs(network, head)
    outcomes: dict[Any, set[str]] = {}
    lengths = set()
    for beams, penalty, stopping, ngram in GRID:
        settings = {"max_new_tokens": LENGTH, "num_beams": beams, "length_penalty": penalty, "early_stopping": stopping}
        found = search(network, head, PROMPTS, num_return=beams, no_repeat_ngram=ngram, **settings)
        for prompt, ours in zip(PROMPTS, found, strict=True):
            wanted = their_search(model, prompt, num_return_sequences=beams, no_repeat_ngram_size=ngram, **settings)
            assert [each.tokens for each in ours] == [tokens for tokens, _ in wanted], (settings, prompt)
            assert [each.score for each in ours] == pytest.approx([score for _, score in wanted], rel=1e-5)
            lengths |= {len(each.tokens) for each in ours}
        outcomes.setdefault((beams, penalty, ngram), set()).add(str([each.tokens for row in found for each in row]))
    # else the settings would agree by having no effect
    assert len(lengths) > 7
    assert max(map(len, outcomes.values())) > 1
    assert len(set().union(*outcomes.values())) > len(outcomes)


def search(network: Any, head: Any, prompts: list[list[int]], **settings: Any) -> list[list[Hypothesis]]:
    return beam_search(network, head, prompts, **({"end_id": END, "max_new_tokens": LENGTH, "num_beams": 4} | settings))


def log_probability(network: Decoder, head: NextToken, prompt: list[int], new: list[int]) -> float:
    """Of tokens after a prompt, all read at once."""
    read = [END, *prompt, *new]
    with torch.no_grad():
        table = head.logits(network(Batch(input_ids=torch.tensor([read[:-1]])))).double().log_softmax(-1)[0]
    return sum(float(table[place - 1, read[place]]) for place in range(len(prompt) + 1, len(read)))


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_as_many_beams_as_there_are_texts_find_the_best_of_all(penalty: float) -> None:
    """All 1 + 2 + 4 + 8 + 16 texts of up to four tokens beside the end, in their order, with exact scores."""
    network, head = made(vocab_size=3)
    most = 4
    ended = [[*text, END] for length in range(most) for text in itertools.product((1, 2), repeat=length)]
    texts = ended + [list(text) for text in itertools.product((1, 2), repeat=most)]
    assert len(texts) == 31
    for prompt in ([], [1, 2, 1]):
        scores = {tuple(text): log_probability(network, head, prompt, text) / len(text) ** penalty for text in texts}
        order = sorted(scores, key=lambda text: -scores[text])
        [found] = search(
            network, head, [prompt], max_new_tokens=most, num_beams=81, num_return=81, length_penalty=penalty
        )
        assert [each.tokens for each in found] == [[token for token in text if token != END] for text in order]
        assert [each.score for each in found] == pytest.approx([scores[text] for text in order], rel=1e-5)


@pytest.mark.parametrize("context", [None, 7])
@pytest.mark.parametrize("beams", [1, 3])
def test_a_batch_of_ragged_prompts_is_each_prompt_alone(beams: int, context: int | None) -> None:
    """With a cache and without one, and where windows move on; texts of one prompt end before those of another."""
    settings = {"num_beams": beams, "num_return": beams, "context": context, "max_new_tokens": 12}
    for seed in (7, 10):
        network, head = made(seed=seed)
        together = search(network, head, PROMPTS, **settings)
        alone = [search(network, head, [prompt], **settings)[0] for prompt in PROMPTS]
        again = search(network, head, PROMPTS, use_cache=False, **settings)
        for one, other, third in zip(together, alone, again, strict=True):
            assert [each.tokens for each in one] == [each.tokens for each in other] == [each.tokens for each in third]
            assert [each.score for each in one] == pytest.approx([each.score for each in other], rel=1e-5)
            assert [each.score for each in one] == pytest.approx([each.score for each in third], rel=1e-5)
        assert len({str(row) for row in together}) == len(PROMPTS)


@pytest.mark.parametrize("stopping", [True, False, "never"])
def test_one_beam_is_greedy_choice(stopping: Any) -> None:
    """A search that went on after the likeliest token was the end would be another one."""
    for seed in (7, 10, 14):
        network, head = made(seed=seed)
        greedy = generate(network, head, PROMPTS, end_id=END, max_new_tokens=LENGTH)
        found = search(network, head, PROMPTS, num_beams=1, length_penalty=2.0, early_stopping=stopping)
        assert [[each.tokens for each in row] for row in found] == [[row] for row in greedy]


def test_rows_are_reordered_with_their_cache_and_read_once() -> None:
    """The scripted network checks its own cache; shapes show one row for each beam, and the prompts read once."""
    table = torch.randn(50, 5, generator=torch.Generator().manual_seed(3))
    network, head = scripted(lambda read: table[sum((i + 1) * t for i, t in enumerate(read)) % 50].tolist(), 5)
    settings = {"end_id": 4, "num_beams": 3, "num_return": 3, "max_new_tokens": 6, "early_stopping": "never"}
    cached = search(network, head, [[1, 2], [3]], **settings)
    assert network.shapes[:3] == [(2, 3), (6, 1), (6, 1)]
    assert cached == search(network, head, [[1, 2], [3]], use_cache=False, **settings)


def beginning(read: list[int]) -> list[float]:
    """The end, 1 or 2 by 0.5, 0.3 and 0.2. After 1 the end by 0.9; after 2 there are only 2s, up to nine of them."""
    shares = {(): (0.5, 0.3, 0.2), (1,): (0.9, 0.05, 0.05)}
    after = tuple(read[1:])
    found = shares.get(after, (0.0, 0.0, 1.0) if len(after) < 9 and 1 not in after else (1.0, 0.0, 0.0))
    return torch.tensor(found).log().tolist()


def test_when_a_search_ends_by_hand() -> None:
    """Two texts have ended after two steps, with ln(0.5) and ln(0.27) / 2. The beam of 2s has ln(0.2) / 2 by then, which
    is less, and ln(0.2) / 10 in the end, which is more."""
    network, head = scripted(beginning, 3)
    settings = {"num_beams": 2, "num_return": 2, "max_new_tokens": 10}
    for stopping in (True, False):
        [found] = search(network, head, [[]], early_stopping=stopping, **settings)
        assert found == [([1], pytest.approx(-0.6546666)), ([], pytest.approx(-0.6931472))]
    [found] = search(network, head, [[]], early_stopping="never", **settings)
    assert found == [([2] * 9, pytest.approx(-0.1609438)), ([1], pytest.approx(-0.6546666))]


def test_a_penalty_below_zero_favours_the_present_length() -> None:
    """Scores are sums times lengths. Two texts have ended after two steps, the worse with 2 ln(0.252) = -2.757. The beam of
    2s has 2 ln(0.42) then and 3 ln(0.42) = -2.603 in the end; at the longest it would have 10 ln(0.42)."""
    table = {(): (0.3, 0.28, 0.42), (1,): (0.9, 0.05, 0.05), (2,): (0.0, 0.0, 1.0), (2, 2): (1.0, 0.0, 0.0)}
    network, head = scripted(lambda read: torch.tensor(table.get(tuple(read[1:]), (1.0, 0.0, 0.0))).log().tolist(), 3)
    [found] = search(
        network, head, [[]], num_beams=2, num_return=2, max_new_tokens=10, length_penalty=-1.0, early_stopping="never"
    )
    assert found == [([], pytest.approx(-1.2039728)), ([2, 2], pytest.approx(-2.6025018))]


def test_no_text_is_made_up_where_fewer_are_possible() -> None:
    """Two texts are possible here, each with its own share."""
    network, head = scripted(
        lambda read: torch.tensor([0.0, 0.5, 0.5] if len(read) == 1 else [1.0, 0, 0]).log().tolist(), 3
    )
    [found] = search(network, head, [[]], num_return=4)
    assert sorted(each.tokens for each in found) == [[1], [2]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_beams": 0}, "num_beams=0: set a whole number of at least 1."),
        ({"num_return": 5}, "num_return=5 is more than num_beams=4: set at most as many as there are beams."),
        ({"length_penalty": "long"}, "length_penalty=long: set a number."),
        ({"early_stopping": "soon"}, "early_stopping=soon: set true, false or never."),
        ({"early_stopping": 1}, "early_stopping=1: set true, false or never."),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram=-1: set a whole number of at least 0."),
        ({"max_new_tokens": 0}, "max_new_tokens=0: set a whole number of at least 1."),
        ({"context": 0}, "context=0: set a whole number of at least 1."),
    ],
)
def test_a_value_out_of_range_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        search(*scripted(lambda read: [0.0] * V, V), [[1]], **settings)
    assert str(caught.value) == message


def test_logits_that_are_no_numbers_are_named() -> None:
    with pytest.raises(UserError, match="logits are not finite"):
        search(*scripted(lambda read: [float("nan")] * V, V), [[1]])


def test_no_prompts_are_no_texts() -> None:
    assert search(*scripted(lambda read: 0, V), []) == []
