"""Guards texts against half characters, stop strings that show, and samples that depend on what stands beside them."""

import pytest

from manyheads.decoding.beam import beam_search
from manyheads.decoding.options import Options
from manyheads.decoding.text import Piece, encode, pieces, samples
from manyheads.errors import UserError
from manyheads.testing import ScriptedHead, ScriptedNetwork, byte_tokenizer, scripted

TOKENIZER = byte_tokenizer()
END, V = TOKENIZER.end_id, TOKENIZER.vocab_size


def saying(text: str, prompt: str = "") -> tuple[ScriptedNetwork, ScriptedHead]:
    """A network that writes `text` after `prompt` and then ends."""
    script = [*(prompt + text).encode(), END]
    return scripted(lambda read: script[len(read) - 1], V)


def written(text: str, prompts: list[str], **options: object) -> list[Piece]:
    greedy = Options(temperature=0, **options)  # type: ignore[arg-type]
    return [piece for piece in pieces(*saying(text), TOKENIZER, prompts, greedy) if piece.text or piece.finish]


def test_a_piece_is_never_half_a_character() -> None:
    """é and 🙂 are two and four tokens here."""
    assert [piece.text for piece in written("aé🙂b", [""])] == ["a", "é", "🙂", "b", ""]
    assert written("aé", [""])[-1] == Piece(0, 0, "", 3, "end")


def test_a_character_cut_off_by_the_length_is_marked() -> None:
    assert [piece.text for piece in written("a🙂", [""], max_new_tokens=3)] == ["a", "�"]


def test_the_text_goes_on_after_the_prompt_and_leaves_it_out() -> None:
    network, head = saying(" world", "hello")
    [sample] = samples(network, head, TOKENIZER, ["hello"], Options(temperature=0))
    assert sample == (0, "hello", 0, " world", 6, "end", None)


@pytest.mark.parametrize("prompt", ["é", "🙂", "a�", "\x00", ""])
def test_no_part_of_the_prompt_appears_in_the_text(prompt: str) -> None:
    """A prompt that ends in U+FFFD looks like an unfinished character to a decoder that streams."""
    network, head = saying("xé", prompt)
    [sample] = samples(network, head, TOKENIZER, [prompt], Options(temperature=0))
    assert sample.text == "xé"


def test_a_stop_string_ends_the_text_and_is_left_out() -> None:
    found = written("one. two. three.", [""], stop=[". t", "xyz"])
    assert "".join(piece.text for piece in found) == "one"
    assert found[-1].finish == "stop"
    assert found[-1].tokens == 6  # nothing is generated past it


def test_a_stop_string_that_was_never_finished_is_text() -> None:
    found = written("one. ", [""], stop=". t")
    assert "".join(piece.text for piece in found) == "one. "
    assert found[-1].finish == "end"


def test_a_stop_string_before_the_prompts_end_does_not_count() -> None:
    network, head = saying("b", "a.")
    [sample] = samples(network, head, TOKENIZER, ["a."], Options(temperature=0, stop=["."]))
    assert (sample.text, sample.finish) == ("b", "end")


def test_the_length_counts_tokens() -> None:
    found = written("abcdef", [""], max_new_tokens=4)
    assert "".join(piece.text for piece in found) == "abcd"
    assert found[-1] == Piece(0, 0, "d", 4, "length")


LETTERS = [0.0 if chr(token).isalpha() and token < 128 else -1e9 for token in range(V)]


def drawn(prompts: list[str], **options: object) -> list[tuple[str, int, str]]:
    network, head = scripted(lambda read: LETTERS, V)
    found = samples(network, head, TOKENIZER, prompts, Options(max_new_tokens=8, temperature=1, **options))  # type: ignore[arg-type]
    return [(sample.prompt, sample.sample, sample.text) for sample in found]


def test_texts_do_not_depend_on_the_batch_or_the_number_of_samples() -> None:
    prompts = ["x", "y", "x"]
    all_at_once = drawn(prompts, num_samples=3)
    assert [row[:2] for row in all_at_once] == [(prompt, sample) for prompt in prompts for sample in range(3)]
    assert len({row[2] for row in all_at_once}) == 9  # the same prompt twice is no reason for the same text
    assert drawn(prompts, num_samples=3, batch_size=2) == all_at_once
    assert drawn(prompts, num_samples=1) == [row for row in all_at_once if row[1] == 0]
    assert drawn(prompts, seed=2) != drawn(prompts)


def test_samples_keep_their_order_when_a_later_one_ends_first() -> None:
    """Here the first prompt's text is the longest."""
    network, head = scripted(lambda read: END if len(read) > 1 and len(read) - 2 >= ord("d") - read[1] else ord("a"), V)
    found = list(samples(network, head, TOKENIZER, ["a", "b", "c"], Options(temperature=0)))
    assert [(sample.prompt, sample.text) for sample in found] == [("a", "aaa"), ("b", "aa"), ("c", "a")]


def test_a_prompt_that_is_half_a_character_is_refused() -> None:
    with pytest.raises(UserError, match="not UTF-8 at character 1"):
        encode(TOKENIZER, "a\udcff")


TABLE = [
    float(token % 7 + token % 3) if token < 256 and chr(token).isalpha() and token < 128 else -9.0 for token in range(V)
]


def ends_soon(read: list[int]) -> list[float]:
    """Letters of several likelihoods, which turn with each place, and an end that is one of them."""
    turned = TABLE[len(read) :] + TABLE[: len(read)]
    return [*turned[:END], 8.0 if len(read) > 4 else 6.5]


def test_beams_give_the_best_texts_with_their_scores() -> None:
    network, head = scripted(ends_soon, V)
    options = Options(num_beams=4, num_samples=3, max_new_tokens=5)
    found = list(samples(network, head, TOKENIZER, ["ab", "", "x"], options))
    assert [(sample.place, sample.prompt, sample.sample) for sample in found] == [
        (place, prompt, number) for place, prompt in enumerate(["ab", "", "x"]) for number in range(3)
    ]
    wanted = beam_search(
        network, head, [list(b"ab"), [], list(b"x")], end_id=END, max_new_tokens=5, num_beams=4, num_return=3
    )
    assert [(sample.text, sample.score, sample.tokens) for sample in found] == [
        (TOKENIZER.decode(each.tokens), each.score, len(each.tokens)) for row in wanted for each in row
    ]
    assert {sample.finish for sample in found} == {"end", "length"}
    assert all((sample.finish == "length") == (sample.tokens == 5) for sample in found)


def test_beams_do_not_depend_on_the_batch() -> None:
    network, head = scripted(ends_soon, V)
    options = {"num_beams": 4, "max_new_tokens": 5}
    found = list(samples(network, head, TOKENIZER, ["ab", "", "x"], Options(**options)))
    assert found == list(samples(network, head, TOKENIZER, ["ab", "", "x"], Options(batch_size=8, **options)))
    assert found == list(samples(network, head, TOKENIZER, ["ab", "", "x"], Options(batch_size=1, **options)))
    told = list(pieces(network, head, TOKENIZER, ["ab", "", "x"], Options(**options)))
    assert told == [sample[:1] + sample[2:6] for sample in found]


@pytest.mark.parametrize("options", [{"temperature": 0}, {"num_samples": 4}, {"num_beams": 3, "num_samples": 2}])
def test_choices_are_all_that_is_written(options: dict[str, int]) -> None:
    network, head = scripted(ends_soon, V)
    found = list(samples(network, head, TOKENIZER, ["a", "b"], Options(choices=["yes", "é"], **options)))  # type: ignore[arg-type]
    assert len(found) == 2 * options.get("num_samples", 1)
    assert {sample.text for sample in found} <= {"yes", "é"}
    assert {sample.finish for sample in found} == {"end"}
