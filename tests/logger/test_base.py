"""Guards: a logger that takes texts and is not asked, and keys of params that lose their group."""

from manyheads.logger.base import LogsTexts, RunLogger, flat
from manyheads.logger.csv import CsvLog
from manyheads.logger.mlflow import MlflowLog
from manyheads.logger.tensorboard import TensorBoardLog
from manyheads.logger.wandb import WandbLog


def test_a_config_becomes_its_leaves_by_dotted_keys() -> None:
    config = {"model": {"dim": 8, "deep": {"er": None}}, "tags": ["a", "b"], "seed": 1}
    assert dict(flat(config)) == {"model.dim": 8, "model.deep.er": None, "tags": ["a", "b"], "seed": 1}


def test_which_loggers_are_told_what() -> None:
    runs = (WandbLog, TensorBoardLog, MlflowLog)
    assert all(issubclass(each, RunLogger) and isinstance(each.__new__(each), LogsTexts) for each in runs)
    assert not issubclass(CsvLog, RunLogger)
    assert [each.id_name for each in runs] == ["wandb_id", None, "mlflow_id"]
