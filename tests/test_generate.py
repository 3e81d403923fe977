"""Guards the verb: what is an option and what a prompt, what is shown, and what is said when something is wrong."""

import dataclasses
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from manyheads.build import CONF_DIR
from manyheads.decoding.options import Options
from manyheads.errors import UserError
from manyheads.generate import HELP, generate, generate_main, read_prompts, read_settings, split_arguments
from manyheads.head.next_token import NextToken
from manyheads.load import load
from manyheads.testing import tiny_run

KEYS = {"run", "checkpoint", "device", "member", "ensemble", "allow", "input", "to", *Options.__dataclass_fields__}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with random weights."""
    return tiny_run(tmp_path_factory.mktemp("runs") / "first", checkpoints={"last": 0})


# the command line


def test_the_yaml_and_the_signature_and_the_help_have_the_same_keys() -> None:
    """A key that one of the three lacks could not be set, or would be set in vain."""
    named = {name for name, p in inspect.signature(generate).parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert named | set(Options.__dataclass_fields__) == KEYS
    assert set(OmegaConf.load(CONF_DIR / "generate.yaml")) == KEYS  # type: ignore[arg-type]
    assert {
        line.split("=")[0].strip() for line in HELP.splitlines() if line.startswith("  ") and "=" in line[:24]
    } >= KEYS


def test_the_help_states_the_true_defaults() -> None:
    for field in dataclasses.fields(Options):
        if isinstance(field.default, int | float):
            [line] = [line for line in HELP.splitlines() if line.startswith(f"  {field.name}=")]
            assert line.endswith(f"({'false' if field.default is False else f'{field.default:g}'})")


def test_the_help_fits_a_page_and_needs_neither_torch_nor_hydra() -> None:
    code = "import sys; from manyheads.generate import generate_main; generate_main(['--help']); "
    code += "print({'torch', 'hydra', 'omegaconf'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == HELP + "set()\n"
    assert max(map(len, HELP.splitlines())) <= 120


@pytest.mark.parametrize(
    ("argv", "overrides", "prompts"),
    [
        (["run=a", "b"], ["run=a"], ["b"]),
        (["Once upon", "run=a", "two"], ["run=a"], ["Once upon", "two"]),
        (["1 + 1 =", "a = b", "=", ""], [], ["1 + 1 =", "a = b", "=", ""]),
        (["run=a", "--", "x=1", "--help", "--"], ["run=a"], ["x=1", "--help", "--"]),
        (["- a list", "-", "-1"], [], ["- a list", "-", "-1"]),
        (["+seed=1", "~run="], ["+seed=1", "~run="], []),
    ],
)
def test_what_is_an_option_and_what_a_prompt(argv: list[str], overrides: list[str], prompts: list[str]) -> None:
    assert split_arguments(argv) == (overrides, prompts, False)


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["run=a", "--help", "text"]])
def test_help_is_found_anywhere_before_the_two_dashes(argv: list[str]) -> None:
    assert split_arguments(argv)[2]


def test_values_are_read_in_hydras_grammar() -> None:
    overrides = ["run=2024", "temperature=0.5", "top_k=3", "allow=[a,b.c]", "to=null"]
    assert read_settings(overrides) == {"run": "2024", "temperature": 0.5, "top_k": 3, "allow": ["a", "b.c"]}


@pytest.mark.parametrize(
    ("value", "stop"),
    [
        ('"\\n\\n"', "\n\n"),
        ("[x,'y z']", ["x", "y z"]),
        ('"\\t"', "\t"),
        (r'"a\\n"', "a\\n"),
    ],
)
def test_a_stop_string_can_be_a_line_break(value: str, stop: Any) -> None:
    assert read_settings(["run=a", f"stop={value}"])["stop"] == stop


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "run is not set: add run=FOLDER"),
        (["run=null"], "run is not set: add run=FOLDER"),
        (["run=a", "temprature=1"], "temprature=1: generate has no key temprature. Did you mean 'temperature'?"),
        (["run=a", "+seed=1"], "+seed=1: generate has no key +seed. Did you mean 'seed'?"),
        (["run=a", "stop=(!"], "stop=(!: this is not one value in Hydra's grammar."),
        (["run=a", "seed=1,2"], "seed=1,2: this is not one value in Hydra's grammar."),
        (["run=${oc.env:NOT_THERE}"], "run=${oc.env:NOT_THERE}: this is not one value in Hydra's grammar."),
    ],
)
def test_a_mistake_on_the_command_line_is_named(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_settings(overrides)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value).splitlines()) <= 2


def test_a_flag_is_refused() -> None:
    with pytest.raises(UserError, match=r"--top-k is no flag of generate: options are KEY=VALUE"):
        generate_main(["run=a", "--top-k", "5"])


# prompts from a file


def test_a_text_file_has_a_prompt_on_each_line(tmp_path: Path) -> None:
    """Only a line's end ends a prompt; U+2028 does not."""
    path = tmp_path / "prompts.txt"
    path.write_bytes("one \n\n two\u2028still\r\nthree = 3".encode())
    assert read_prompts(path) == ["one ", " two\u2028still", "three = 3"]


def test_a_jsonl_file_has_a_prompt_in_each_object(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a\\nb", "id": 1}\n\n{"prompt": ""}\n', encoding="utf-8")
    assert read_prompts(path) == ["a\nb", ""]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"ab\n\xff", "a.txt is not UTF-8 at byte 3"),
        ("a.txt", b"\n \n", "a.txt is empty"),
        ("a.jsonl", b'{"prompt": "x"}\n{', "a.jsonl, line 2 is no JSON"),
        ("a.jsonl", b'{"text": "x"}', 'a.jsonl, line 1 has no text under "prompt"'),
        ("a.jsonl", b'{"prompt": 1}', 'a.jsonl, line 1 has no text under "prompt"'),
        ("a.jsonl", b"[]", 'a.jsonl, line 1 has no text under "prompt"'),
        ("b.txt", None, "b.txt cannot be read: No such file or directory."),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_prompts(tmp_path / name)
    assert message in str(caught.value)


# what comes out


def test_one_text_is_shown_after_its_prompt(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate_main([f"run={run}", "device=cpu", "temperature=0", "max_new_tokens=9", "ab"]) == 0
    assert (
        capsys.readouterr().out == "ab" + load(run, device="cpu").generate("ab", temperature=0, max_new_tokens=9) + "\n"
    )


def test_without_a_prompt_a_text_begins(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate_main([f"run={run}", "device=cpu", "max_new_tokens=5", "seed=3"])
    assert capsys.readouterr().out == load(run, device="cpu").generate(max_new_tokens=5, seed=3) + "\n"


def test_several_texts_are_shown_in_order_with_a_line_above(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate_main([f"run={run}", "device=cpu", "max_new_tokens=4", "num_samples=2", "a", "b"])
    a, b = load(run, device="cpu").generate(["a", "b"], max_new_tokens=4, num_samples=2)
    expected = "".join(
        f"--- prompt {number} of 2, sample {sample + 1} of 2 ---\n{prompt}{text}\n"
        for number, prompt, texts in ((1, "a", a), (2, "b", b))
        for sample, text in enumerate(texts)
    )
    assert capsys.readouterr().out == expected


def test_texts_go_to_a_file_as_json_lines(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts, out = tmp_path / "prompts.txt", tmp_path / "texts.jsonl"
    prompts.write_text("é\nb\n", encoding="utf-8")
    generate_main([f"run={run}", "device=cpu", "max_new_tokens=4", f"input={prompts}", f"to={out}", "first"])
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").split("\n")[:-1]]
    texts = load(run, device="cpu").generate(["first", "é", "b"], max_new_tokens=4)
    assert [(row["prompt"], row["sample"], row["text"]) for row in rows] == [
        (prompt, 0, text) for prompt, text in zip(["first", "é", "b"], texts, strict=True)
    ]
    assert [list(row) for row in rows] == [["prompt", "sample", "text", "tokens", "finish"]] * 3
    assert capsys.readouterr().out == f"3 texts in {out}\n"
    assert sorted(tmp_path.iterdir()) == [prompts, out]


def test_the_texts_of_a_search_carry_their_scores(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [f"run={run}", "device=cpu", "max_new_tokens=4", "num_beams=3", "num_samples=2", "temperature=0"]
    generate_main([*arguments, "length_penalty=0.5", "early_stopping=never", "to=-", "a", "b"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [list(row) for row in rows] == [["prompt", "sample", "text", "tokens", "finish", "score"]] * 4
    settings = {"max_new_tokens": 4, "num_beams": 3, "length_penalty": 0.5, "early_stopping": "never"}
    found = load(run, device="cpu").samples(["a", "b"], num_samples=2, **settings)  # type: ignore[arg-type]
    assert [(row["text"], row["score"]) for row in rows] == [(sample.text, sample.score) for sample in found]


def test_choices_and_expressions_on_the_command_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("llguidance")
    generate_main([f"run={run}", "device=cpu", 'choices=["yes, it is","no"]', "a"])
    assert capsys.readouterr().out in ("ayes, it is\n", "ano\n")
    generate_main([f"run={run}", "device=cpu", r'regex="\d[a-c]{2} (x|\$)"', "a"])
    assert re.fullmatch(r"a\d[a-c]{2} (x|\$)\n", capsys.readouterr().out)


def test_texts_on_stdout_stand_there_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate_main([f"run={run}", "device=cpu", "max_new_tokens=4", "to=-", "a", "b" * 20])
    said = capsys.readouterr()
    assert [json.loads(line)["prompt"] for line in said.out.splitlines()] == ["a", "b" * 20]
    assert said.err.startswith("note: ")


def test_texts_go_into_a_pipe_which_stays(run: Path, tmp_path: Path) -> None:
    """As for `to=>(gzip > texts.gz)`."""
    os.mkfifo(tmp_path / "pipe")
    handle = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        generate(["a"], run=run, device="cpu", max_new_tokens=4, to=tmp_path / "pipe")
        assert json.loads(os.read(handle, 10_000))["prompt"] == "a"
    finally:
        os.close(handle)
    assert (tmp_path / "pipe").is_fifo()


def test_a_folder_with_spaces_in_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny_run(tmp_path / "my runs" / "the first", checkpoints={"last": 0})
    assert generate_main([f"run='{run}'", "device=cpu", "max_new_tokens=3", "ab"]) == 0
    assert capsys.readouterr().out.startswith("ab")


class Broken(Exception):
    pass


def test_tokens_are_shown_as_they_come(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards a text that is held back until it is whole: the third token never comes, the first two are out by then."""
    lm = load(run, device="cpu")
    # bytes of a character of several come as one piece, so that a prompt is looked for which plain letters follow
    found = ((prompt, list(lm.stream(prompt, temperature=0, max_new_tokens=2))) for prompt in map(chr, range(33, 127)))
    plain = (each for each in found if len(each[1]) == 2 and "".join(each[1]).isalnum())
    prompt, pieces = next(plain)
    screen, calls, logits = Terminal(), [], NextToken.logits

    def breaks(self: NextToken, *args: Any) -> Any:
        calls.append(screen.text)
        if len(calls) == 3:
            raise Broken
        return logits(self, *args)

    monkeypatch.setattr(NextToken, "logits", breaks)
    monkeypatch.setattr(sys, "stdout", screen)
    with pytest.raises(Broken):
        generate([prompt], run=run, device="cpu", temperature=0, max_new_tokens=9)
    assert calls == [prompt, prompt + pieces[0], prompt + "".join(pieces)]
    assert screen.flushed == calls[-1]


def test_memory_that_gives_out_names_what_can_be_lowered_here(run: Path) -> None:
    """Guards advice about training. 2^50 positions take more than a process can address."""
    with pytest.raises(UserError) as caught:
        generate(["a"], run=run, device="cpu", context=2**50, max_new_tokens=2**50)
    first, second = str(caught.value).splitlines()
    assert first.startswith("out of memory")
    assert second == "Lower batch_size, context or max_new_tokens."


def test_a_failure_leaves_the_old_file(run: Path, tmp_path: Path) -> None:
    """Nothing half-written may look whole, and nothing is left beside it."""
    out = tmp_path / "texts.jsonl"
    out.write_text("old", encoding="utf-8")
    with pytest.raises(UserError, match="not UTF-8"):
        generate(["a\udcff"], run=run, device="cpu", to=out)
    assert out.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_a_prompt_that_is_read_in_part_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fifteen tokens and the end in front fill the window of sixteen; the next is too many."""
    generate(["x" * 15], run=run, device="cpu", max_new_tokens=1)
    assert capsys.readouterr().err == ""
    generate(["x" * 16], run=run, device="cpu", max_new_tokens=1)
    assert "note: the prompt is longer than the 16 tokens" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": "hot"}, "temperature=hot: set a number of at least 0."),
        ({"num_beams": 2, "temperature": 1}, "temperature=1 does not go with num_beams=2"),
        ({"choices": ["a", 1]}, "choices=['a', 1]: 1 is no text"),
        ({"max_new_tokens": 0}, "max_new_tokens=0: set a whole number of at least 1."),
        ({"device": "meta"}, "device=meta keeps no numbers"),
        ({"to": "nowhere/texts.jsonl"}, "to=nowhere/texts.jsonl: there is no folder nowhere."),
        ({"to": "."}, "to=. is a folder: set a file, such as to=texts.jsonl."),
        ({"input": "nowhere.txt"}, "input=nowhere.txt cannot be read"),
        ({"checkpoint": "best"}, "checkpoint=best is not in"),
        ({"run": "nowhere"}, "run=nowhere: there is no such folder."),
    ],
)
def test_a_bad_setting_is_named(run: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        generate(["a"], **{"run": run, **settings})
    assert str(caught.value).startswith(message)


class Terminal:
    """Stands for a terminal."""

    def __init__(self) -> None:
        self.text = self.flushed = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        self.flushed = self.text


def test_drawn_bytes_do_not_steer_the_terminal(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    generate(["\x1b[2J\ttab"], run=run, device="cpu", max_new_tokens=200, temperature=100)
    assert terminal.text.startswith("�[2J\ttab")
    assert not [c for c in terminal.text if ord(c) < 32 and c not in "\t\n"]


@pytest.mark.slow
def test_a_run_that_writes_several_languages_asks_which(cli: Callable[..., Any]) -> None:
    """A prompt alone does not say, and without its tag the encoder would read what no training had."""
    done = cli("train", "task=translation", "task.direction=both", "task.languages=[a,b]", "trainer.max_steps=1",
               "tokenizer=byte", "model.dim=16", "model.num_layers=1", "model.num_encoder_layers=1", "model.num_heads=2",
               "task.num_beams=1", "task.max_target_tokens=4", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1",
               "logger=csv", "++callbacks.samples=0")  # fmt: skip
    assert done.code == 0, done.err
    asked = cli("generate", f"run={done.folder}", "open")
    assert (asked.code, asked.out) == (1, "")
    assert (
        "which language is asked for, one of a, b, and a prompt does not say. Ask it with `manyheads predict`"
        in asked.err
    )
