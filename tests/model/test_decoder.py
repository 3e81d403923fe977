import copy
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from manyheads.batch import IGNORE, Batch
from manyheads.build import CONF_DIR
from manyheads.decoding.generate import generate
from manyheads.errors import UserError
from manyheads.head.next_token import NextToken
from manyheads.model.decoder import Decoder

KINDS = ["rotary", "learned", "sinusoidal", "none"]


def network(**settings: Any) -> Decoder:
    """Weights of 0.3, so that a wrong attention weight shows far above rounding."""
    torch.manual_seed(0)
    made = Decoder(**{"vocab_size": 20, "dim": 16, "num_heads": 4, "num_layers": 2, "init_std": 0.3} | settings)
    return made.double()


OPTIONS: dict[str, dict[str, Any]] = {
    "qk_norm": {"qk_norm": True},
    "window": {"window": 3},
    "window of one": {"window": 1},
    "full_every": {"window": 2, "full_every": 2},
    "softcap": {"attention_softcap": 0.5},
    "sinks": {"sinks": True},
    "parallel": {"block": "parallel"},
    "parallel_one_norm": {"block": "parallel_one_norm", "bias": True, "norm": "layernorm"},
    "alibi": {"positions": "alibi"},
    "linear": {"rotary_scaling": "linear", "rotary_factor": 2.0},
    "yarn": {"rotary_scaling": "yarn", "rotary_factor": 2.0, "original_max_positions": 64},
    "llama3": {"rotary_scaling": "llama3", "rotary_factor": 2.0, "original_max_positions": 8},
    "window, sinks": {"window": 3, "sinks": True},
    "alibi, window, sinks": {"positions": "alibi", "window": 3, "full_every": 2, "sinks": True},
    "alibi, softcap": {"positions": "alibi", "attention_softcap": 0.5, "norm_position": "post"},
    "all": {
        "qk_norm": True, "window": 3, "full_every": 2, "attention_softcap": 0.5, "sinks": True, "block": "parallel",
        "rotary_scaling": "llama3", "rotary_factor": 2.0, "original_max_positions": 8,
    },
}  # fmt: skip
DYNAMIC: dict[str, Any] = {"rotary_scaling": "dynamic", "rotary_factor": 4.0, "original_max_positions": 5}


def optional(**options: Any) -> Decoder:
    """With an option on, and the weights that it brings far from where they start."""
    net = network(**{"num_kv_heads": 2} | options)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith(("sinks", "query_norm.weight", "key_norm.weight")):
                parameter.normal_(1.0, 0.5)
    return net


def settings_for(positions: str) -> dict[str, Any]:
    return {"positions": positions, "max_positions": 12 if positions == "learned" else None, "num_kv_heads": 2}


@pytest.mark.parametrize("norm_position", ["pre", "post"])
@pytest.mark.parametrize("positions", KINDS)
def test_packed_documents_are_separate_documents(positions: str, norm_position: str) -> None:
    """Guards leaks across documents and positions that run on: losses and gradients equal those of one row a document."""
    check_packing(network(**settings_for(positions), norm_position=norm_position))


@pytest.mark.parametrize("name", OPTIONS)
def test_packed_documents_are_separate_documents_with_each_option(name: str) -> None:
    check_packing(optional(**OPTIONS[name]))


def test_packed_documents_are_separate_documents_with_dynamic_angles() -> None:
    """The row is longer than 3, so is the first document; the length that counts is each document's own."""
    check_packing(optional(**DYNAMIC | {"original_max_positions": 3}))


def check_packing(net: Decoder) -> None:
    head = NextToken(dim=16, vocab_size=20, weight=net.output_weight)
    documents = [torch.randint(0, 20, (length,)) for length in (4, 3, 2)]
    packed = Batch(
        input_ids=torch.cat([*documents, torch.zeros(1, dtype=torch.long)])[None],
        labels=torch.cat([*[d.flip(0) for d in documents], torch.tensor([IGNORE])])[None],
        positions=torch.tensor([[0, 1, 2, 3, 0, 1, 2, 0, 1, 0]]),
        segments=torch.tensor([[1, 1, 1, 1, 2, 2, 2, 3, 3, 0]]),
    )
    together = head.losses(net(packed), packed)[0]
    together.sum().backward()
    gradients = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    alone = []
    for document in documents:
        single = Batch(input_ids=document[None], labels=document.flip(0)[None])
        alone.append(head.losses(net(single), single)[0])
    torch.cat(alone).sum().backward()
    torch.testing.assert_close(together, torch.cat([*alone, torch.zeros(1).double()]), rtol=1e-10, atol=1e-10)
    for one, other in zip(gradients, [p.grad for p in net.parameters()], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("positions", KINDS)
def test_cached_steps_of_left_padded_prompts_equal_whole_rows(positions: str) -> None:
    """Guards the cache, its mask over padding, and positions: each row alone, uncached and unpadded, is the oracle."""
    check_cached_steps(network(**settings_for(positions)).eval())


@pytest.mark.parametrize("name", OPTIONS)
def test_cached_steps_of_left_padded_prompts_equal_whole_rows_with_each_option(name: str) -> None:
    check_cached_steps(optional(**OPTIONS[name]).eval())


def check_cached_steps(net: Decoder) -> None:
    rows = [torch.randint(0, 20, (length,)) for length in (9, 6, 7)]
    prompt, pads = 6, [0, 3, 2]  # 3 steps follow; prompts are 6, 3 and 4 tokens long
    ids = torch.zeros(3, prompt, dtype=torch.long)
    for row, (text, pad) in enumerate(zip(rows, pads, strict=True)):
        ids[row, pad:] = text[: prompt - pad]
    place = torch.arange(prompt) - torch.tensor(pads)[:, None]
    batch = Batch(input_ids=ids, positions=place.clamp(min=0), segments=(place >= 0).long())
    with torch.inference_mode():
        cache = net.new_cache(3, 9)
        hidden = [net(batch, cache)]
        for step in range(3):
            last = torch.stack([text[prompt - pad + step] for text, pad in zip(rows, pads, strict=True)])[:, None]
            where = torch.tensor([[prompt - pad + step] for pad in pads])
            hidden.append(net(Batch(input_ids=last, positions=where), cache))
        whole = torch.cat(hidden, 1)
        for row, (text, pad) in enumerate(zip(rows, pads, strict=True)):
            torch.testing.assert_close(whole[row, pad:], net(Batch(input_ids=text[None]))[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("positions", KINDS)
@pytest.mark.parametrize("pieces", [[1] * 7, [3, 1, 1, 2], [2, 5]])
def test_cached_pieces_of_whole_rows(positions: str, pieces: list[int]) -> None:
    """Guards the offset of masks and positions when more than one token follows what is cached."""
    net = network(**settings_for(positions)).eval()
    ids = torch.randint(0, 20, (2, 7))
    cache = net.new_cache(2, 7)
    hidden = torch.cat([net(Batch(input_ids=piece), cache) for piece in ids.split(pieces, 1)], 1)
    torch.testing.assert_close(hidden, net(Batch(input_ids=ids)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", OPTIONS)
def test_cached_pieces_of_whole_rows_with_each_option(name: str) -> None:
    net, ids = optional(**OPTIONS[name]).eval(), torch.randint(0, 20, (2, 7))
    cache = net.new_cache(2, 7)
    hidden = torch.cat([net(Batch(input_ids=piece), cache) for piece in ids.split([3, 1, 1, 2], 1)], 1)
    torch.testing.assert_close(hidden, net(Batch(input_ids=ids)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_changes_what_is_computed(name: str) -> None:
    """Guards an option that is accepted and does nothing: the weights that both networks have are the same."""
    net, plain = optional(**OPTIONS[name]), network(num_kv_heads=2)
    shared = {n: t for n, t in net.state_dict().items() if n in plain.state_dict()}
    plain.load_state_dict(shared, strict=False)
    ids = Batch(input_ids=torch.arange(8)[None])
    assert not torch.allclose(net(ids), plain(ids), atol=1e-3)


@pytest.mark.parametrize("name", [*OPTIONS, "dynamic"])
def test_greedy_text_with_the_cache_is_the_text_without_it(name: str) -> None:
    """Ragged prompts, windows that are left behind, rows that are read on from later; each row alone is the same too."""
    net = optional(**OPTIONS.get(name, DYNAMIC)).float()
    head = NextToken(dim=16, vocab_size=20, weight=net.output_weight, bias=True, softcap=2.0)
    with torch.no_grad():
        head.get_parameter("bias")[0] = -100.0  # no text ends before its time
    prompts = [[3, 5, 7, 2], [], [11, 4]]
    with_cache, without = (
        generate(net, head, prompts, end_id=0, max_new_tokens=12, context=10, use_cache=use) for use in (True, False)
    )
    assert with_cache == without
    assert with_cache == [
        generate(net, head, [prompt], end_id=0, max_new_tokens=12, context=10)[0] for prompt in prompts
    ]
    assert max(map(len, with_cache)) == 12


def test_dynamic_angles_with_a_cache_are_those_of_the_whole_row() -> None:
    """Guards keys kept from a shorter row. Up to the original positions the cache serves; past them all is read again."""
    net, ids = optional(**DYNAMIC).eval(), torch.randint(0, 20, (2, 9))
    cache = net.new_cache(2, 9)
    for piece in ([0, 3], [3, 4], [4, 5], [5, 6], [6, 9]):
        last = net(Batch(input_ids=ids[:, piece[0] : piece[1]]), cache)
        whole = net(Batch(input_ids=ids[:, : piece[1]]))[:, piece[0] :]
        torch.testing.assert_close(last, whole, rtol=1e-10, atol=1e-10)
    assert cache.length == 9


@pytest.mark.parametrize("name", [*OPTIONS, "dynamic"])
def test_each_option_in_bfloat16_stays_near(name: str) -> None:
    """Guards precisions that do not fit together, by autocast and in full, in training and through a cache."""
    net = optional(**OPTIONS.get(name, DYNAMIC)).float()
    ids, segments = torch.randint(0, 20, (1, 6)), torch.tensor([[1, 1, 1, 2, 2, 0]])
    batch = Batch(input_ids=ids, segments=segments, positions=torch.tensor([[0, 1, 2, 0, 1, 0]]))
    exact = net(batch)
    with torch.autocast("cpu", torch.bfloat16):
        near = net(batch)
        near.sum().backward()
        cache = net.new_cache(1, 6)
        net(Batch(input_ids=ids[:, :5]), cache)
        net(Batch(input_ids=ids[:, 5:]), cache)
    torch.testing.assert_close(near.float(), exact, rtol=0.15, atol=0.15)
    half = net.bfloat16()(batch)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=0.2, atol=0.2)


def test_sinks_start_at_zero_and_are_drawn_anew() -> None:
    net = optional(sinks=True)
    net.reset_parameters()
    assert not any(block.get_submodule("attention").sinks.any() for block in net.blocks)


@pytest.mark.parametrize(
    ("name", "vocab_size", "parameters"),
    [
        ("llama_1b", 128_256, 1_235_814_400),  # of meta-llama/Llama-3.2-1B and Llama-3.1-8B, from their model cards
        ("llama_8b", 128_256, 8_030_261_248),
        ("gpt2", 50_257, 124_439_808),
        # 10,000 embeddings; 6 layers of 4 (D^2 + D), 2 D F + F + D and two norms; no norm at the end
        ("transformer_512", 10_000, 5_120_000 + 6 * (4 * (512**2 + 512) + 2 * 512 * 2048 + 2048 + 512 + 4 * 512)),
        ("nano", 256, 16_384 + 2 * (4 * 64**2 + 3 * 64 * 192 + 2 * 64) + 64),
    ],
)
def test_presets_have_the_published_number_of_parameters(name: str, vocab_size: int, parameters: int) -> None:
    settings = yaml.safe_load((CONF_DIR / "model" / f"{name}.yaml").read_text())
    assert settings.pop("_target_") == "manyheads.model.decoder.Decoder"
    with torch.device("meta"):
        net = Decoder(vocab_size=vocab_size, **settings)
        head = NextToken(dim=net.dim, vocab_size=vocab_size, weight=net.output_weight)
    assert sum(p.numel() for p in nn.ModuleList([net, head]).parameters()) == parameters


def test_no_position_sees_what_comes_after_it() -> None:
    net = network()
    ids = torch.randint(0, 20, (1, 8))
    changed = ids.clone()
    changed[0, 5] = (ids[0, 5] + 1) % 20
    before, after = net(Batch(input_ids=ids))[0], net(Batch(input_ids=changed))[0]
    assert torch.equal(before[:5], after[:5])
    assert not torch.allclose(before[5:], after[5:])


def test_order_matters_without_any_positions_only_through_the_mask() -> None:
    """With positions=none the last position of a one-layer network is blind to the order before it."""
    swapped = [torch.tensor([[3, 5, 7]]), torch.tensor([[5, 3, 7]])]
    one, other = (network(positions="none", num_layers=1)(Batch(input_ids=ids))[0, -1] for ids in swapped)
    torch.testing.assert_close(one, other)
    one, other = (network(num_layers=1)(Batch(input_ids=ids))[0, -1] for ids in swapped)
    assert not torch.allclose(one, other, atol=1e-3)


def test_training_goes_on_after_inference_mode() -> None:
    """Guards the rotary table: made in inference mode it could not be saved for backward."""
    for positions in ("rotary", "sinusoidal"):
        net = network(positions=positions)
        with torch.inference_mode():
            net(Batch(input_ids=torch.zeros(1, 4, dtype=torch.long)))
        net(Batch(input_ids=torch.zeros(1, 4, dtype=torch.long))).sum().backward()


def test_bfloat16_by_autocast_and_in_full_stays_near() -> None:
    """Guards the mask's and the rotation's precision: SDPA refuses queries and masks of two precisions."""
    net = network(num_kv_heads=2).float()
    ids, segments = torch.randint(0, 20, (1, 6)), torch.tensor([[1, 1, 1, 2, 2, 0]])
    batch = Batch(input_ids=ids, segments=segments, labels=ids)
    exact = net(batch)
    with torch.autocast("cpu", torch.bfloat16):
        near = net(batch)
        loss = NextToken(dim=16, vocab_size=20, weight=net.output_weight)(near, batch).loss_sum
    assert loss.dtype == torch.float32
    loss.backward()
    torch.testing.assert_close(near.float(), exact, rtol=0.1, atol=0.1)
    half = net.bfloat16()(batch)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=0.15, atol=0.15)


def test_dropout_acts_in_training_alone() -> None:
    net, ids = network(dropout=0.5), torch.randint(0, 20, (1, 6))
    assert not torch.equal(net(Batch(input_ids=ids)), net(Batch(input_ids=ids)))
    net.eval()
    assert torch.equal(net(Batch(input_ids=ids)), net(Batch(input_ids=ids)))


def test_embeddings_are_scaled_by_the_root_of_the_width() -> None:
    plain, scaled = network(positions="none"), network(positions="none", scale_embeddings=True)
    with torch.no_grad():
        plain.embedding.weight *= 4  # sqrt(16)
    ids = Batch(input_ids=torch.tensor([[1, 2]]))
    torch.testing.assert_close(plain(ids), scaled(ids))


def test_tied_weights_stay_one_through_copies_and_state_dicts() -> None:
    net = network()
    both = nn.ModuleDict({"network": net, "head": NextToken(dim=16, vocab_size=20, weight=net.output_weight)})
    assert sum(p.numel() for p in both.parameters()) == sum(p.numel() for p in net.parameters())
    twin = copy.deepcopy(both)
    assert twin["head"].weight is twin["network"].embedding.weight
    other = network(init_std=0.1)
    same = nn.ModuleDict({"network": other, "head": NextToken(dim=16, vocab_size=20, weight=other.output_weight)})
    same.load_state_dict(both.state_dict())
    assert torch.equal(other.embedding.weight, net.embedding.weight)
    assert same["head"].weight is other.embedding.weight
    assert network(tie_embeddings=False).output_weight is None


def test_the_meta_device_costs_no_memory_and_no_randomness() -> None:
    before = torch.get_rng_state()
    with torch.device("meta"):
        net = Decoder(vocab_size=50_000, dim=4096, num_layers=2, num_heads=32)
    assert {p.device.type for p in net.parameters()} == {"meta"}
    assert torch.equal(before, torch.get_rng_state())


def test_a_row_longer_than_the_positions_is_refused() -> None:
    net = network(positions="learned", max_positions=4)
    net(Batch(input_ids=torch.zeros(1, 4, dtype=torch.long)))
    with pytest.raises(UserError, match=r"model.max_positions=4 is less than a row of 5 tokens"):
        net(Batch(input_ids=torch.zeros(1, 5, dtype=torch.long)))
    cache = net.new_cache(1, 6)
    net(Batch(input_ids=torch.zeros(1, 4, dtype=torch.long)), cache)
    with pytest.raises(UserError, match=r"task.seq_len"):
        net(Batch(input_ids=torch.zeros(1, 1, dtype=torch.long)), cache)
