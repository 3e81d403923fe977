"""Guards: a refusal by the hub that is taken for a missing network, and told with the wrong remedy."""

from typing import Any

import httpx
import huggingface_hub
import pytest
from huggingface_hub import errors

from manyheads.data.revision import Located, locate
from manyheads.errors import UserError

COMMIT = "f" * 40


def answer(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(self: object, name: str, **settings: Any) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", ask)


def refusal(kind: type[errors.HfHubHTTPError]) -> Exception:
    return kind("no", response=httpx.Response(404, request=httpx.Request("GET", "https://hub.invalid")))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (errors.GatedRepoError, r"data\.name=o/n is gated: accept its terms"),
        (errors.RevisionNotFoundError, r"data\.revision=main: o/n has no such branch"),
        (errors.RepositoryNotFoundError, r"data\.name=o/n is not on the hub"),
    ],
)
def test_refusals(kind: type[errors.HfHubHTTPError], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(refusal(kind), monkeypatch)
    with pytest.raises(UserError, match=message):
        locate("dataset", "o/n", "main", "data.name")


def test_a_commit_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(ConnectionError("no network"), monkeypatch)
    assert locate("dataset", "o/n", COMMIT, "data.name") == Located(COMMIT, online=False)
    with pytest.raises(UserError, match=r"cannot be reached \(no network\)"):
        locate("dataset", "o/n", "main", "data.name")
