"""A tokenizer out of a repository of the Hugging Face hub, or out of a local copy of one."""

from __future__ import annotations

import contextlib
from pathlib import Path

from manyheads.data.revision import OFFLINE_HINT, locate
from manyheads.data.source import Source
from manyheads.errors import UserError
from manyheads.marks import builder
from manyheads.tokenizer.base import Tokenizer
from manyheads.tokenizer.file import CONFIG, FILE, read


@builder
def from_hub(*, source: Source, name: str | None = None, revision: str | None = None) -> Tokenizer:
    """The tokenizer.json of a model on the hub, or of a folder that is a copy of one. The source is not read.

    Args:
        source: not read.
        name: OWNER/NAME of the model, or the folder.
        revision: a branch, tag or commit of it; None: the newest.

    Files that were fetched before are used without a network. Raises UserError when there are none.
    """
    if not name:
        raise UserError("tokenizer.name is not set. Set tokenizer.name=OWNER/NAME of a model on the hub, or a folder.")
    folder = Path(name).expanduser()
    if not folder.is_dir():
        return read(_fetch(name, revision), name=name, key="name")
    if not (folder / FILE).is_file():
        raise UserError(f"tokenizer.name={name}: the folder has no {FILE}. Set another folder, or OWNER/NAME.")
    return read(folder / FILE, name=folder.absolute().name, key="name")


def _fetch(name: str, revision: str | None) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    commit, online = locate("model", name, revision, "tokenizer.name")
    settings = {"revision": commit, "local_files_only": not online}
    try:
        found = huggingface_hub.hf_hub_download(name, FILE, **settings)
    except errors.LocalEntryNotFoundError as error:
        raise UserError(
            f"tokenizer.name={name}: the hub cannot be reached, and the tokenizer was not fetched before.\n"
            f"{OFFLINE_HINT['model']}"
        ) from error
    except errors.EntryNotFoundError as error:
        raise UserError(f"tokenizer.name={name} has no {FILE}. Set another model, or tokenizer=bpe.") from error
    with contextlib.suppress(errors.EntryNotFoundError):  # many have none: `read` looks in the tokenizer itself then
        huggingface_hub.hf_hub_download(name, CONFIG, **settings)
    return Path(found)
