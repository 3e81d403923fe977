"""Guards the strategies against wrong sets, wrong order and wrong draws; expected values are worked out by hand."""

import math

import pytest
import torch

from manyheads.decoding.sampling import GREEDY, MinP, RepetitionPenalty, Sampling, Temperature, TopK, TopP, sampling
from manyheads.errors import UserError

PROBABILITIES = [0.5, 0.25, 0.125, 0.125]
LOGITS = torch.tensor([PROBABILITIES, PROBABILITIES[::-1]]).log()


def probabilities(**settings: float) -> list[list[float]]:
    """What is drawn from, rounded to what float32 holds."""
    return [[round(value, 6) for value in row] for row in sampling(**settings).probabilities(LOGITS).tolist()]  # type: ignore[arg-type]


def test_no_setting_leaves_the_distribution_alone() -> None:
    assert probabilities() == [PROBABILITIES, PROBABILITIES[::-1]]
    assert sampling() == Sampling()


def test_temperature_raises_probabilities_to_its_inverse() -> None:
    """At 0.5 probabilities are squared and normalised: 16, 4, 1, 1 of 22."""
    assert probabilities(temperature=0.5)[0] == [round(part / 22, 6) for part in (16, 4, 1, 1)]


@pytest.mark.parametrize("temperature", [1e-6, 1e-3, 1e3, 1e30])
def test_extreme_temperatures_stay_finite(temperature: float) -> None:
    found = sampling(temperature=temperature).probabilities(LOGITS * 100)
    assert found.isfinite().all()
    assert found.sum(-1).tolist() == pytest.approx([1, 1])


def test_top_k_keeps_k_tokens_also_among_equals() -> None:
    """A threshold would keep both tokens of 0.125."""
    assert probabilities(top_k=3) == [
        [round(part / 7, 6) for part in (4, 2, 1, 0)],
        [round(part / 7, 6) for part in (1, 0, 2, 4)],
    ]
    assert probabilities(top_k=1)[1] == [0, 0, 0, 1]
    assert probabilities(top_k=99) == probabilities()


def test_top_p_keeps_the_smallest_set_that_reaches_p() -> None:
    """0.5 is reached by the first token alone; a token more is kept as soon as p lies above."""
    third = [round(2 / 3, 6), round(1 / 3, 6), 0, 0]
    assert probabilities(top_p=0.5)[0] == [1, 0, 0, 0]
    assert probabilities(top_p=0.51)[0] == third
    assert probabilities(top_p=0.75)[1] == third[::-1]
    assert probabilities(top_p=0)[0] == [1, 0, 0, 0]
    assert probabilities(top_p=1) == probabilities()


def test_min_p_is_relative_to_the_likeliest() -> None:
    """0.5 times 0.5 is 0.25, which just stays; of the rest nothing does."""
    assert probabilities(min_p=0.5)[0] == [round(2 / 3, 6), round(1 / 3, 6), 0, 0]
    assert probabilities(min_p=0.51)[0] == [1, 0, 0, 0]
    assert probabilities(min_p=0) == probabilities()


def test_repetition_penalty_lowers_positive_and_negative_logits_alike() -> None:
    """Dividing a negative logit would make the token likelier."""
    bent = RepetitionPenalty(penalty=2.0)(
        torch.tensor([[3.0, -3.0, 3.0, -3.0]]), torch.tensor([[True, True, False, False]])
    )
    assert bent.tolist() == [[1.5, -6.0, 3.0, -3.0]]


def test_settings_apply_in_the_order_that_is_documented() -> None:
    chosen = sampling(min_p=0.1, top_p=0.9, top_k=5, temperature=0.7, repetition_penalty=1.2)
    assert [type(warp) for warp in chosen.warps] == [RepetitionPenalty, Temperature, TopK, TopP, MinP]
    assert chosen.uses_seen
    assert not chosen.greedy


def test_greedy_takes_the_lowest_of_equals_and_heeds_the_penalty() -> None:
    logits = torch.tensor([[1.0, 2.0, 2.0, 0.0]])
    assert GREEDY.choose(logits, None).tolist() == [1]
    cold = sampling(temperature=0, repetition_penalty=4.0)
    assert cold.choose(logits, None, torch.tensor([[False, True, True, False]])).tolist() == [0]


@pytest.mark.parametrize(
    ("draw", "token"),
    [(0.0, 0), (0.4999, 0), (0.5001, 1), (0.7499, 1), (0.7501, 2), (0.8751, 3), (math.nextafter(1, 0), 3)],
)
def test_a_draw_becomes_the_token_in_whose_share_it_falls(draw: float, token: int) -> None:
    """The shares end at 0.5, 0.75, 0.875 and 1."""
    draws = torch.tensor([draw, draw], dtype=torch.float64)
    assert Sampling().choose(LOGITS, draws)[0] == token


@pytest.mark.parametrize("draw", [0.0, 0.3, math.nextafter(1, 0)])
def test_a_token_of_probability_zero_is_never_drawn(draw: float) -> None:
    """At the ends of the range, where rounding would choose the first or the last token."""
    logits = torch.tensor([[-math.inf, 0.3, 0.1, -math.inf, -math.inf]])
    assert Sampling().choose(logits, torch.tensor([draw], dtype=torch.float64)).item() in (1, 2)


def test_draws_follow_the_distribution() -> None:
    """A grid of draws hits each token as often as its probability says."""
    draws = (torch.arange(800, dtype=torch.float64) + 0.5) / 800
    tokens = sampling(temperature=0.5).choose(LOGITS[:1].expand(800, -1), draws)
    counts = tokens.bincount(minlength=4).tolist()
    assert counts == pytest.approx([800 * part / 22 for part in (16, 4, 1, 1)], abs=1)


def test_half_precision_is_widened_before_it_is_summed() -> None:
    assert sampling(top_p=0.9).probabilities(torch.zeros(1, 50_000, dtype=torch.bfloat16)).dtype == torch.float32


def test_a_diverged_network_is_named() -> None:
    with pytest.raises(UserError, match="not finite"):
        Sampling().choose(torch.full((1, 3), math.nan), torch.zeros(1, dtype=torch.float64))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1}, "temperature=-1: set a number of at least 0."),
        ({"temperature": math.nan}, "temperature=nan: set a number of at least 0."),
        ({"temperature": "hot"}, "temperature=hot: set a number of at least 0."),
        ({"top_k": 0}, "top_k=0: set a whole number of at least 1."),
        ({"top_k": 1.5}, "top_k=1.5: set a whole number of at least 1."),
        ({"top_p": 1.1}, "top_p=1.1: set a number from 0 to 1."),
        ({"min_p": -0.1}, "min_p=-0.1: set a number from 0 to 1."),
        ({"repetition_penalty": 0}, "repetition_penalty=0: set a number above 0; 1 is no penalty."),
    ],
)
def test_values_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UserError) as caught:
        sampling(**settings)  # type: ignore[arg-type]
    assert str(caught.value) == message
