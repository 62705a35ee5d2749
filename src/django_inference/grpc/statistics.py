"""What was counted of a model, as Triton says it."""

from __future__ import annotations

from collections.abc import Iterable

from django_inference.serving.lookup import check_version, predictor_named
from django_inference.specs import ReplicaStatus, Status
from django_inference.wire.protos import open_inference_pb2 as pb


def statistics_of(aliases: Iterable[str], version: str = "") -> pb.ModelStatisticsResponse:
    """The counts of models. Loads nothing; asks the model host.

    What is not counted here (the time in queues, the last call) is left out.

    Raises:
        NotServed: there is no such model or version.
    """
    response = pb.ModelStatisticsResponse()
    for alias in aliases:
        predictor = predictor_named(alias)
        if version:
            check_version(predictor, version, predictor.backend.deadline(0.0))
        response.model_stats.append(_said(predictor.status()))
    return response


def _said(status: Status) -> pb.ModelStatistics:
    counts = [replica.statistics for replica in status.replicas]
    rows = sum(count.rows for count in counts)
    said = pb.ModelStatistics(
        name=status.alias,
        version=status.version,
        inference_count=rows,
        execution_count=sum(count.batches for count in counts),
    )
    stats = said.inference_stats
    # Inputs that were refused are neither: a server of Triton's does not count them.
    stats.success.count = sum(count.successes for count in counts)
    stats.fail.count = sum(count.failures for count in counts)
    stats.compute_infer.count = rows
    stats.compute_infer.ns = int(sum(count.run_seconds for count in counts) * 1e9)
    if status.cache is not None:
        stats.cache_hit.count = status.cache.hits
        stats.cache_miss.count = status.cache.misses
    sizes: dict[int, int] = {}
    for count in counts:
        for bound, batches in count.batch_sizes.items():
            # The last bound, which is none, has no number.
            if bound.isdigit() and batches:
                sizes[int(bound)] = sizes.get(int(bound), 0) + batches
    for size, batches in sorted(sizes.items()):
        said.batch_stats.add(batch_size=size).compute_infer.count = batches
    for replica in status.replicas:
        kind, number = _device(replica)
        said.memory_usage.add(type=kind, id=number, byte_size=replica.memory)
    return said


def _device(replica: ReplicaStatus) -> tuple[str, int]:
    kind, _, number = replica.device.partition(":")
    return ("GPU" if kind == "cuda" else "CPU"), int(number) if number.isdigit() else 0
