"""Guards decoding against wrong padding, positions, cache and windows: the scripted network asserts the contract at each
call, and its next token depends on every token before and its place, so no mistake leaves the texts as they are."""

import pytest
import torch

from manyheads.decoding.generate import generate, steps
from manyheads.decoding.sampling import Sampling, sampling
from manyheads.errors import UserError, written
from manyheads.testing import scripted, tiny_network

V, END = 11, 10
PROMPTS = [[1, 2, 3, 4, 5], [], [7], [3, 3]]


def rule(read: list[int]) -> int:
    """A token that every token so far decides, each by its place; never the end."""
    return sum((place + 2) * (token + 1) for place, token in enumerate(read)) % END


def expected(prompt: list[int], count: int, limit: int | None = None) -> list[int]:
    """The oracle: the rule itself, over a window that falls to three quarters when it is full."""
    window, new = [END, *prompt], []
    for _ in range(count):
        if limit is not None and len(window) > limit:
            window = window[-max(1, limit * 3 // 4) :]
        new.append(rule(window))
        window.append(new[-1])
    return new


@pytest.mark.parametrize("use_cache", [True, False])
def test_ragged_prompts_are_continued_as_each_alone(use_cache: bool) -> None:
    network, head = scripted(rule, V)
    found = generate(network, head, PROMPTS, end_id=END, max_new_tokens=9, use_cache=use_cache)
    assert found == [expected(prompt, 9) for prompt in PROMPTS]


def test_the_cache_reads_each_token_once() -> None:
    """Without it, the shapes would grow."""
    network, head = scripted(rule, V)
    generate(network, head, PROMPTS, end_id=END, max_new_tokens=4)
    assert network.shapes == [(4, 6), (4, 1), (4, 1), (4, 1)]


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
def test_a_full_window_goes_on_with_its_end(limit: int, use_cache: bool) -> None:
    """Each row's window falls by its own length, whatever the others' are; the network's positions never run out."""
    network, head = scripted(rule, V, max_positions=limit)
    found = generate(network, head, PROMPTS, end_id=END, max_new_tokens=20, use_cache=use_cache)
    assert found == [expected(prompt, 20, limit) for prompt in PROMPTS]


def test_context_is_a_window_below_the_networks_own() -> None:
    network, head = scripted(rule, V, max_positions=8)
    found = generate(network, head, PROMPTS, end_id=END, max_new_tokens=20, context=5)
    assert found == [expected(prompt, 20, 5) for prompt in PROMPTS]
    with pytest.raises(UserError, match="context=9: the network has 8 positions"):
        generate(network, head, PROMPTS, end_id=END, max_new_tokens=20, context=9)


def ending(read: list[int]) -> int:
    """Ends a text when it is three tokens longer than its first token says."""
    return END if len(read) > 1 and len(read) >= read[1] + 4 else rule(read)


@pytest.mark.parametrize("limit", [None, 12])
@pytest.mark.parametrize("use_cache", [True, False])
def test_a_row_ends_at_its_end_token_and_the_others_go_on(use_cache: bool, limit: int | None) -> None:
    """A row that is longest and over must neither fill the cache of the others nor appear in their rows."""
    network, head = scripted(ending, V)
    prompts = [[0] + [5] * 2, [3], [6]]
    found = generate(network, head, prompts, end_id=END, max_new_tokens=30, use_cache=use_cache, context=limit)
    alone = [generate(network, head, [prompt], end_id=END, max_new_tokens=30, context=limit)[0] for prompt in prompts]
    assert found == alone
    assert [len(row) for row in found] == [0, 5, 8]


def test_a_finished_row_is_read_no_more() -> None:
    """Rows that go on must not be read among those that are over: the shapes would stay as they began."""
    network, head = scripted(ending, V)
    generate(network, head, [[0], [2], [1]], end_id=END, max_new_tokens=30)
    assert network.shapes == [(3, 2), (3, 1), (3, 1), (2, 1), (1, 1)]


def test_a_finished_long_row_makes_room() -> None:
    network, head = scripted(lambda read: END if len(read) > 9 else rule(read), V, max_positions=10)
    found = generate(network, head, [[1] * 8, [2]], end_id=END, max_new_tokens=8)
    assert [len(row) for row in found] == [1, 8]
    assert found[1] == expected([2], 8)


def test_on_token_ends_a_row_with_its_token_kept() -> None:
    network, head = scripted(rule, V)
    heard: list[tuple[int, int]] = []

    def listen(row: int, token: int) -> bool:
        heard.append((row, token))
        return row == 1

    found = generate(network, head, PROMPTS[:2], end_id=END, max_new_tokens=3, on_token=listen)
    assert found == [expected(PROMPTS[0], 3), expected([], 1)]
    assert heard == [(0, found[0][0]), (1, found[1][0]), (0, found[0][1]), (0, found[0][2])]


def test_the_end_token_is_told_by_steps_and_not_kept() -> None:
    network, head = scripted(lambda read: END, V)
    assert list(steps(network, head, [[1]], end_id=END, max_new_tokens=5)) == [(0, END)]
    assert generate(network, head, [[1]], end_id=END, max_new_tokens=5) == [[]]


FLAT = [0.0] * V


def test_a_rows_draws_depend_on_its_seed_and_key_alone() -> None:
    """Neither the batch around it nor the global random state may change a text."""
    network, head = scripted(lambda read: FLAT, V)
    settings = {"end_id": END, "max_new_tokens": 12, "sampling": Sampling()}
    together = generate(network, head, PROMPTS, seed=3, **settings)  # type: ignore[arg-type]
    torch.manual_seed(99)
    before = torch.get_rng_state()
    alone = generate(network, head, PROMPTS[2:3], seed=3, keys=[2], **settings)  # type: ignore[arg-type]
    assert alone == together[2:3]
    assert torch.equal(torch.get_rng_state(), before)
    assert len({tuple(row) for row in together}) == 4
    assert generate(network, head, PROMPTS, seed=4, **settings) != together  # type: ignore[arg-type]


def test_the_repetition_penalty_sees_prompt_and_new_tokens_but_not_the_end_in_front() -> None:
    """Logits 0, 1, ..., 10 and a strong penalty: each token once, from the top; the prompt's 9 and 8 are left out."""
    network, head = scripted(lambda read: [float(token + 1) for token in range(V)], V)
    cold = sampling(temperature=0, repetition_penalty=1000.0)
    found = generate(network, head, [[9, 8], [4]], end_id=0, max_new_tokens=4, sampling=cold)
    assert found == [[10, 7, 6, 5], [10, 9, 8, 7]]
    first = generate(network, head, [[9]], end_id=END, max_new_tokens=4, sampling=cold)
    assert first == [[]]  # the end token, likeliest of all, has not been written yet


@pytest.mark.parametrize("limit", [None, 6])
def test_a_real_decoders_cache_changes_no_token(limit: int | None) -> None:
    """Greedy, ragged, over windows: the cached texts are those of the path that reads everything anew."""
    network, head = tiny_network(V)
    settings = {"end_id": END, "max_new_tokens": 24, "context": limit}
    cached = generate(network, head, PROMPTS, **settings)  # type: ignore[arg-type]
    plain = generate(network, head, PROMPTS, use_cache=False, **settings)  # type: ignore[arg-type]
    alone = [generate(network, head, [prompt], **settings)[0] for prompt in PROMPTS]  # type: ignore[arg-type]
    assert cached == plain == alone
    assert len({token for row in cached for token in row}) > 3  # a network that repeats one token would pass by luck


def test_modes_return_to_what_they_were_also_when_the_reader_leaves() -> None:
    network, head = tiny_network(V)
    network.train()
    network.blocks[0].eval()
    stream = steps(network, head, [[1]], end_id=END, max_new_tokens=5)
    next(stream)
    assert not network.training
    assert torch.is_inference_mode_enabled() is False  # it must not leak to whoever reads the stream
    stream.close()
    assert network.training
    assert not network.blocks[0].training
    assert head.training


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_a_length_that_is_no_count_is_refused(count: int) -> None:
    network, head = scripted(rule, V)
    with pytest.raises(UserError, match=f"max_new_tokens={written(count)}: set a whole number of at least 1"):
        generate(network, head, [[1]], end_id=END, max_new_tokens=count)


def test_no_prompts_are_no_texts() -> None:
    network, head = scripted(rule, V)
    assert generate(network, head, [], end_id=END, max_new_tokens=5) == []
