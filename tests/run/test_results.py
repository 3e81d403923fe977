import json
import math
import stat
from pathlib import Path

import pytest

from manyheads.errors import UserError
from manyheads.run.results import SCHEMA, Results, numbers, read_results, value_of, write_results

RESULTS: Results = {
    "schema": SCHEMA,
    "val": {"loss": 1.5},
    "test": {"perplexity": math.inf},
    "perf": {},
    "run": {"status": "done", "steps": 7, "seed": 1},
}


def test_round_trip_and_numbers_that_json_lacks(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(path, RESULTS)
    assert "Infinity" not in path.read_text()  # jq and browsers refuse it
    found = read_results(path)
    assert found["test"] == {"perplexity": None}
    assert numbers(found) == {"val/loss": 1.5, "run/steps": 7, "run/seed": 1}
    assert value_of(found, "val/loss") == 1.5
    assert value_of(found, "val/absent") is None
    assert value_of(found, "run/status") is None
    assert value_of(found, "schema") is None


def test_a_failed_write_leaves_the_old_file_whole_and_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(path, RESULTS)
    before = path.read_bytes()
    bad = {**RESULTS, "run": {"status": object()}}
    with pytest.raises(TypeError):
        write_results(path, bad)  # type: ignore[arg-type]
    path.parent.chmod(stat.S_IRWXU)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_is_written_with_the_rights_of_any_new_file(tmp_path: Path) -> None:
    # a temporary file is private: on a shared disk nobody else could read the results
    (tmp_path / "plain").touch()
    write_results(tmp_path / "results.json", RESULTS)
    assert (tmp_path / "results.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_older_file_opens_with_empty_parts(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"schema": 0, "val": {"loss": 2}}')
    found = read_results(tmp_path / "results.json")
    assert found["val"] == {"loss": 2}
    assert found["test"] == found["perf"] == found["run"] == {}


def test_a_newer_file_names_the_version_that_wrote_it(tmp_path: Path) -> None:
    text = json.dumps({"schema": SCHEMA + 1, "run": {"versions": {"manyheads": "9.8"}}})
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match=r"written by manyheads 9\.8"):
        read_results(tmp_path / "results.json")


@pytest.mark.parametrize("text", ["", "{", '{"val": {', "\xff", "[]", '{"schema": "one"}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=str(path)):
        read_results(path)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_results(tmp_path / "results.json")
