"""Guards a chunk whose products are not those of the steps, a state that runs over into the next text, gates in another order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from manyheads.model.gated_linear_attention import DAMPING, GatedLinearAttention, Run, scan

B, H, T, K = 2, 3, 11, 4


def drawn() -> tuple[Tensor, ...]:
    torch.manual_seed(0)
    query, key, value = (torch.randn(B, H, T, K, dtype=torch.float64) for _ in range(3))
    return query, key, value, -torch.rand(B, H, T, dtype=torch.float64)


def by_steps(
    query: Tensor, key: Tensor, value: Tensor, log_decay: Tensor, begins: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """The definition, a position and a row at a time."""
    out, states = torch.zeros_like(value), state.clone()
    for row in range(B):
        for place in range(T):
            old = states[row] if begins.expand(B, T)[row, place] < place else torch.zeros_like(states[row])
            decay = log_decay[row, :, place].exp()[:, None, None]
            states[row] = decay * old + key[row, :, place, :, None] * value[row, :, place, None]
            out[row, :, place] = (query[row, :, place, None] @ states[row])[:, 0]
    return out, states


@pytest.mark.parametrize("chunk", [1, 2, 4, 11, 64])
@pytest.mark.parametrize(
    "begins",
    [
        [[0] * T],
        [[-5] * T],
        [[0, 0, 0, 3, 3, 3, 3, 7, 8, 8, 8], [-2, -2, 2, 2, 2, 2, 2, 2, 2, 2, 10]],
    ],
)
def test_chunks_are_the_steps(chunk: int, begins: list[list[int]]) -> None:
    """Outputs, the state behind them, and gradients; texts that begin in a chunk, at its border, and before the batch."""
    made, places = drawn(), torch.tensor(begins)
    before = torch.randn(B, H, K, K, dtype=torch.float64)
    inputs = [part.requires_grad_() for part in (*made, before)]
    wanted = by_steps(*(part.detach() for part in made), places, before.detach())
    found = scan(*inputs[:4], places, inputs[4], chunk=chunk)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    gradients = torch.autograd.grad(sum((part.square().sum() for part in found), torch.zeros(())), inputs)
    again = scan(*inputs[:4], places, inputs[4], chunk=1)
    for one, other in zip(
        gradients, torch.autograd.grad(sum((p.square().sum() for p in again), torch.zeros(())), inputs), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


def test_long_forgetting_has_numbers() -> None:
    """Guards exponents above 0: a decay that is all but 0 over a whole chunk."""
    query, key, value, _ = drawn()
    decay = torch.full((B, H, T), -500.0, dtype=torch.float64, requires_grad=True)
    out, state = scan(query, key, value, decay, torch.zeros(1, T, dtype=torch.long), chunk=11)
    (out.sum() + state.sum()).backward()
    assert out.isfinite().all()
    assert decay.grad is not None
    assert decay.grad.isfinite().all()
    torch.testing.assert_close(out, (query * key).sum(-1, keepdim=True) * value)


def test_the_layer_by_its_formula() -> None:
    torch.manual_seed(0)
    layer = GatedLinearAttention(dim=6, num_heads=2, eps=1e-5, chunk=4).double()
    x, run = torch.randn(1, 3, 6, dtype=torch.float64), Run(torch.zeros(1, 3, dtype=torch.long), None, [], None)
    found, state, wanted = layer(x, run, 0), torch.zeros(2, 3, 3, dtype=torch.float64), []
    for token in x[0]:
        query, key, value = (made(token).view(2, 3) for made in (layer.query, layer.key, layer.value))
        decay = torch.sigmoid(layer.decay(token)) ** (1 / DAMPING)
        state = decay[:, None, None] * state + key[..., None] * value[:, None]
        read = (query[:, None] @ state)[:, 0] / 3**0.5
        gate = layer.gate(token)
        wanted.append(layer.output(layer.norm(read).flatten() * gate * gate.sigmoid()))
    torch.testing.assert_close(found[0], torch.stack(wanted))
    torch.testing.assert_close(run.after[0][0], state)


def test_heads_start_with_memories_of_8_to_512_tokens() -> None:
    layer = GatedLinearAttention(dim=8, num_heads=4, eps=1e-5, chunk=4)
    layer.spread_decay()
    kept = torch.sigmoid(layer.decay.bias) ** (1 / DAMPING)
    torch.testing.assert_close(1 - kept, torch.tensor([1 / 8, 1 / 32, 1 / 128, 1 / 512]), rtol=1e-3, atol=1e-6)
