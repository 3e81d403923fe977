"""The best weights in the Hugging Face layout: config.json, model.safetensors, tokenizer.json, a model card."""

from __future__ import annotations

import json
import math
import shutil
from typing import Any

from safetensors.torch import save_file
from torch import nn

from manyheads import __version__
from manyheads.model.hugging_face import to_hugging_face
from manyheads.run.folder import RunFolder
from manyheads.run.results import Results
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.chat_template import ChatTemplate

CARD = """---
library_name: {library}
---

# {name}

A language model trained with manyheads {version}: task {task}, data {data}, network {model}, {parameters:,} parameters,
{tokens:,} tokens seen.

{scores}

{note}
"""


def export(folder: RunFolder, network: nn.Module, head: nn.Module, tokenizer: Tokenizer, results: Results) -> None:
    """Writes the export folder beside the old one and swaps them. Of a tokenizer with a chat template, the template too, and
    that a turn's end ends a text."""
    config, tensors = to_hugging_face(network, head, end_id=tokenizer.end_id)
    beside = folder.path / "export.tmp"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    (beside / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(tensors, beside / "model.safetensors", metadata={"format": "pt"})
    (beside / "tokenizer.json").write_text(tokenizer.backend.to_str(pretty=True), encoding="utf-8")
    end = tokenizer.backend.id_to_token(tokenizer.end_id)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": end, "eos_token": end}
    if tokenizer.chat_template is not None:
        settings["chat_template"] = tokenizer.chat_template
        ends = {"bos_token_id": tokenizer.end_id, "eos_token_id": [ChatTemplate(tokenizer).turn_end, tokenizer.end_id]}
        (beside / "generation_config.json").write_text(json.dumps(ends, indent=2) + "\n", encoding="utf-8")
    (beside / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (beside / "README.md").write_text(_card(config, results), encoding="utf-8")
    shutil.rmtree(folder.export, ignore_errors=True)
    beside.replace(folder.export)


def _card(config: dict[str, Any], results: Results) -> str:
    run = results["run"]
    known = config["model_type"] != "manyheads"
    note = (
        f"The layout is {config['model_type']}'s; `transformers` loads it with AutoModelForCausalLM.from_pretrained."
        if known
        else "This shape has no counterpart in `transformers`; load it with manyheads."
    )
    return CARD.format(
        library="transformers" if known else "manyheads",
        name=run["name"],
        version=__version__,
        task=run["task"],
        data=run["data"],
        model=run["model"],
        parameters=run["parameters"],
        tokens=run["tokens_seen"],
        scores=_scores(results),
        note=note,
    )


def _scores(results: Results) -> str:
    """The scores as a table, a line for each split and for each baseline."""
    names = [name for name, value in (results["test"] or results["val"]).items() if value is not None]
    lines = [["split", *(name.replace("_", " ") for name in names)], ["---"] * (len(names) + 1)]
    for split, found in (("validation", results["val"]), ("test", results["test"])):
        values = [found.get(name) for name in names]
        if any(value is not None for value in values):
            lines.append([split, *map(_number, values)])
    for rule, found in results.get("baselines", {}).items():
        lines.append([f"test, {rule.replace('_', ' ')}", *(_number(found.get(name)) for name in names)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"
