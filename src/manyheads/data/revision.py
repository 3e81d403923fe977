"""Which commit of a repository on the hub a name means, asked quickly; the answer is kept for when there is no network."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Literal, NamedTuple

from manyheads.atomic import replacing
from manyheads.data.cache import cache_dir, fingerprint
from manyheads.errors import UserError

TIMEOUT_SECONDS = 5.0
OFFLINE_HINT = {
    "dataset": "Offline: copy the repository to this machine and set data.name=FOLDER, or use data=pydocs.",
    "model": "Offline: copy its tokenizer.json to this machine and set tokenizer=file tokenizer.path=FILE.",
}

Kind = Literal["dataset", "model"]


class Located(NamedTuple):
    """A state of a repository, and whether the hub answers."""

    commit: str
    online: bool


def locate(kind: Kind, name: str, revision: str | None, key: str) -> Located:
    """The commit (40 hex digits) that a name and revision mean on the hub.

    Without a network it is the one that this machine saw last. Raises UserError, naming `key`, when it saw none, when
    the hub has no such repository or revision, or when it is not open to this user.
    """
    memo = cache_dir() / "hub" / f"{fingerprint(kind, name, revision)}.json"
    try:
        commit = _ask(kind, name, revision)
    except Exception as error:  # what the client raises without a network differs between its versions
        if refusal := _refusal(name, revision, key, error):
            raise refusal from error
        seen = _seen(kind, name, revision, memo)
        if seen:
            return Located(seen, online=False)
        reason = textwrap.shorten(str(error), 120, placeholder=" ...") or type(error).__name__
        raise UserError(f"{key}={name}: the hub cannot be reached ({reason}).\n{OFFLINE_HINT[kind]}") from error
    _remember(memo, commit)
    return Located(commit, online=True)


def snapshot(kind: Kind, name: str, revision: str | None) -> Path | None:
    """The folder with what the hub's client fetched of a repository before; None when there is none."""
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(name, repo_type=kind, revision=revision, local_files_only=True))
    except Exception:  # none was fetched: what it raises then differs between versions
        return None


def _ask(kind: Kind, name: str, revision: str | None) -> str:
    import huggingface_hub

    api = huggingface_hub.HfApi()
    info = api.dataset_info if kind == "dataset" else api.model_info
    commit = info(name, revision=revision, timeout=TIMEOUT_SECONDS).sha
    assert commit is not None
    return commit


def _seen(kind: Kind, name: str, revision: str | None, memo: Path) -> str | None:
    if revision and re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    if memo.is_file():
        return json.loads(memo.read_text(encoding="utf-8"))
    folder = snapshot(kind, name, revision)
    return folder.name if folder else None


def _refusal(name: str, revision: str | None, key: str, error: Exception) -> UserError | None:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return UserError(f"{key}={name} is gated: accept its terms on the hub and set HF_TOKEN to a token of yours.")
    if isinstance(error, errors.RevisionNotFoundError):
        group = key.partition(".")[0]
        return UserError(f"{group}.revision={revision}: {name} has no such branch, tag or commit. Set another.")
    if isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError):
        return UserError(
            f"{key}={name} is not on the hub, or private (set HF_TOKEN), and no folder here. "
            f"Set {key}=OWNER/NAME or a folder."
        )
    return None


def _remember(memo: Path, commit: str) -> None:
    memo.parent.mkdir(parents=True, exist_ok=True)
    with replacing(memo) as file:
        file.write(json.dumps(commit))
