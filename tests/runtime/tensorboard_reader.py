"""What TensorBoard's own code reads from a folder of event files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard import context
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups
from tensorboard.util.tensor_util import make_ndarray


def read(folder: Path) -> EventAccumulator:
    """One run, from all its files."""
    return EventAccumulator(str(folder)).Reload()


def runs(root: Path) -> list[str]:
    """The names of all runs, in order."""
    return sorted({file.parent.relative_to(root).as_posix() for file in root.rglob("*tfevents*")})


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of each series of a run, by tag."""
    events = read(folder)
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def histogram(folder: Path, tag: str) -> Any:
    """Left edge, right edge and count of each bucket."""
    (event,) = read(folder).Tensors(tag)
    return make_ndarray(event.tensor_proto)


def sessions(root: Path, order_by: str | None = None) -> Mapping[str, Any]:
    """Session groups of the hparams dashboard, by name, and in the order of a metric if one is passed."""
    multiplexer = (
        EventMultiplexer(event_file_active_filter=lambda timestamp: True).AddRunsFromDirectory(str(root)).Reload()
    )
    provider = MultiplexerDataProvider(multiplexer, str(root))
    backend = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request_context = context.RequestContext()
    metadata = backend.hparams_metadata(request_context, "")
    experiment = backend.experiment_from_metadata(
        request_context, "", True, metadata, backend.hparams_from_data_provider(request_context, "", None), None
    )
    columns = []
    for hparam in experiment.hparam_infos:
        columns.append(api_pb2.ColParams(hparam=hparam.name))
    for metric in experiment.metric_infos:
        column = api_pb2.ColParams(metric=metric.name)
        if metric.name.tag == order_by:
            column.order = api_pb2.ORDER_ASC
            column.missing_values_first = False
        columns.append(column)
    statuses = [api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING]
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0, slice_size=1000, allowed_statuses=statuses, col_params=columns
    )
    response = list_session_groups.Handler(request_context, backend, "", request).run()
    return {group.name: group for group in response.session_groups}
