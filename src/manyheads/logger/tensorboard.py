"""TensorBoard: event files in the run folder, which `tensorboard --logdir outputs/runs` shows beside those of other runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from manyheads.logger.base import RunLogger, flat
from manyheads.marks import builder, needs
from manyheads.run.results import Status

_log = logging.getLogger(__name__)

FOLDER = "tensorboard"
END_SUFFIX = ".end"
"""Of the event file that says how the run ended. TensorBoard keeps the first end that it finds, so a resumed run takes this
file away."""


@needs("tensorboard", pip="tensorboard")
@builder
def tensorboard(
    *,
    folder: Path,
    config: Mapping[str, Any],
    tags: Sequence[str] = (),
    resumed_step: int | None,
    history: Iterable[Mapping[str, float]],
    flush_secs: int = 120,
) -> Logger:
    """The logger of one run; its event files are in `folder`/tensorboard.

    Args:
        folder: the run folder, whose name TensorBoard shows.
        config: shown as a text and, flat, as hyperparameters; it is written as it is.
        tags: shown as a text.
        resumed_step: the optimizer step after which a resumed run goes on; later points are purged.
        history: the rows that were logged up to there, for a run that had no event files yet; each has a `step`.
        flush_secs: seconds after which TensorBoard's writer writes what it holds; each row of the log is written at once.
    """
    return TensorBoardLog(
        folder=Path(folder),
        config=config,
        tags=tags,
        resumed_step=resumed_step,
        history=history,
        flush_secs=flush_secs,
    )


class TensorBoardLog(TensorBoardLogger, RunLogger):
    """Lightning's logger for one run folder: steps are optimizer steps, and the session says how it ended.

    A resumed run goes on in a second event file that begins by purging what its checkpoint does not know, in the way of
    TensorBoard's own `purge_step`.
    """

    def __init__(
        self,
        *,
        folder: Path,
        config: Mapping[str, Any],
        tags: Sequence[str],
        resumed_step: int | None,
        history: Iterable[Mapping[str, float]],
        flush_secs: int,
    ) -> None:
        known = any((folder / FOLDER).glob("events.out.tfevents.*"))
        purge: dict[str, Any] = {"purge_step": resumed_step + 1} if resumed_step is not None and known else {}
        super().__init__(
            save_dir=folder, name=FOLDER, version="", default_hp_metric=False, flush_secs=flush_secs, **purge
        )
        self._config = dict(config)
        self._tags = list(tags)
        self._history = [] if known else list(history)
        self._last: dict[str, tuple[int, Any]] = {}
        self._last_step = 0
        self._started = self._closed = self._warned = False

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Logs at an optimizer step, by default the last one that was logged; a number once for a step. Never raises."""
        self._last_step = at = self._last_step if step is None else step
        new = {name: value for name, value in metrics.items() if self._last.get(name) != (at, value)}
        self._last |= {name: (at, value) for name, value in new.items()}
        self._guarded(lambda: super(TensorBoardLog, self).log_metrics(new, at))

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the config is written at the start."""

    @rank_zero_only
    def log_text(
        self,
        key: str,
        columns: list[str] | None = None,
        data: list[list[str]] | None = None,
        dataframe: Any | None = None,
        step: int | None = None,
    ) -> None:
        """Logs each row of text as a block that TensorBoard shows as it is. Never raises."""
        names = columns or []
        blocks = [
            _as_it_is("\n".join(f"{name}: {cell}" for name, cell in zip(names, row, strict=True))) for row in data or []
        ]
        if blocks:
            self._guarded(lambda: self.experiment.add_text(key, "\n\n".join(blocks), step))

    @rank_zero_only
    def save(self) -> None:
        """Puts all that was logged on disk. Never raises."""
        self._guarded(lambda: self.experiment.flush())

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Nothing: Lightning calls it after each of fit and test, and the run goes on."""

    @rank_zero_only
    def close(self, status: Status = "done") -> None:
        """Ends the session as succeeded, failed or, for a run that was told to stop, unknown; closes the file."""
        if self._started:
            self._guarded(lambda: self._end(status))
        self._closed = True

    def _guarded(self, call: Callable[[], None]) -> None:
        if self._closed:
            return
        try:
            if not self._started:
                self._started = True
                self._begin()
            call()
        except Exception as error:  # a full disk, most of all: the training is worth more than its log
            if not self._warned:
                _log.warning("TensorBoard failed (%s: %s); the training goes on.", type(error).__name__, error)
            self._warned = True

    def _begin(self) -> None:
        from torch.utils.tensorboard.summary import hparams

        for end in Path(self.log_dir).glob(f"events.out.tfevents.*{END_SUFFIX}"):
            end.unlink()
        settings = {
            name: value if isinstance(value, bool | int | float) else str(value) for name, value in flat(self._config)
        }
        _, start, _ = hparams(settings, {})
        self.experiment._get_file_writer().add_summary(start, 0)
        self.experiment.add_text("config", _as_it_is(yaml.safe_dump(self._config, sort_keys=False)), 0)
        if self._tags:
            self.experiment.add_text("tags", ", ".join(self._tags), 0)
        for row in self._history:
            values = {name: value for name, value in row.items() if name != "step"}
            super().log_metrics(values, int(row["step"]))

    def _end(self, status: Status) -> None:
        from tensorboard.compat.proto import summary_pb2
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
        from torch.utils.tensorboard import SummaryWriter

        summary, api, data = cast(tuple[Any, Any, Any], (summary_pb2, api_pb2, plugin_data_pb2))  # made when imported
        ends = {"done": api.STATUS_SUCCESS, "failed": api.STATUS_FAILURE}
        end = data.HParamsPluginData(
            session_end_info=data.SessionEndInfo(status=ends.get(status, api.STATUS_UNKNOWN)),
            version=metadata.PLUGIN_DATA_VERSION,
        )
        plugin = summary.SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=end.SerializeToString())
        value = summary.Summary.Value(
            tag=metadata.SESSION_END_INFO_TAG,
            metadata=summary.SummaryMetadata(plugin_data=plugin),
            tensor=metadata.NULL_TENSOR,
        )
        self.experiment.close()
        with SummaryWriter(self.log_dir, filename_suffix=END_SUFFIX) as end_writer:
            end_writer._get_file_writer().add_summary(summary.Summary(value=[value]), self._last_step)


def _as_it_is(text: str) -> str:
    """A text as a block of code in Markdown, which TensorBoard renders."""
    return "\n".join(f"    {line}" for line in text.splitlines())
