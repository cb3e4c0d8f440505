"""The worker's metrics, as Prometheus reads them, and their table in docs/metrics.md."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from processor.metrics import Metrics, Queues, Standstill
from processor.model_manager import Reason
from schemas.jobs import JobState, Lane

TABLE = Path(__file__).parents[3] / "docs" / "metrics.md"


def read(metrics: Metrics) -> dict[str, float]:
    """Sample -> value, such as `turnstream_jobs_open{operation=diarize}`."""
    found = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_the_table_is_what_a_worker_serves():
    metrics = Metrics()
    metrics.follow(lambda: Queues({("diarize", Lane.BATCH): 1}, {"diarize": 1}, 0, {"diarize": 1.0}))
    metrics.watch(lambda: Standstill(behind=0, settled=0.0, stuck=None))
    metrics.loaded("diarize", 1.0, 1)
    metrics.unloaded("diarize", Reason.IDLE)
    metrics.opened("diarize", Lane.BATCH, 1.0)
    metrics.ended("diarize", JobState.FAILED)
    served = set()
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        served.add((name, family.type, frozenset(labels), family.documentation))
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, ]*?) ?\| (.+) \|$", TABLE.read_text(), re.MULTILINE)
    assert {
        (name, type_, frozenset(labels.split(", ") if labels else ()), said) for name, type_, labels, said in rows
    } == served
    assert len(rows) == len(served)


def test_the_table_names_every_reason():
    assert all(f"{reason} (" in TABLE.read_text() for reason in Reason)


def test_models_come_and_go():
    metrics = Metrics()
    metrics.loaded("diarize", 2.0, 300)
    metrics.loaded("transcribe", 3.0, 500)
    metrics.swapped()
    metrics.unloaded("diarize", Reason.SWAP)
    read_now = read(metrics)
    assert read_now["turnstream_model_loads_total{model=diarize}"] == 1
    assert read_now["turnstream_model_unloads_total{model=diarize,reason=swap}"] == 1
    assert read_now["turnstream_model_load_seconds_sum{model=transcribe}"] == 3.0
    assert read_now["turnstream_swaps_total"] == 1
    assert read_now["turnstream_model_bytes{model=diarize}"] == 0
    assert read_now["turnstream_model_bytes{model=transcribe}"] == 500


def test_an_engine_that_is_gone_holds_no_model_and_unloaded_none():
    metrics = Metrics()
    metrics.loaded("diarize", 2.0, 300)
    metrics.engine_lost()
    read_now = read(metrics)
    assert read_now["turnstream_model_bytes{model=diarize}"] == 0
    assert not any("unloads_total{" in name for name in read_now)


def test_jobs_wait_and_end():
    metrics = Metrics()
    for waited in (0.3, 7.0):
        metrics.opened("diarize", Lane.BATCH, waited)
    metrics.ended("diarize", JobState.SUCCEEDED)
    read_now = read(metrics)
    assert read_now["turnstream_job_wait_seconds_count{lane=batch,operation=diarize}"] == 2
    assert read_now["turnstream_job_wait_seconds_bucket{lane=batch,le=0.5,operation=diarize}"] == 1
    assert read_now["turnstream_jobs_ended_total{operation=diarize,state=succeeded}"] == 1


def test_what_waits_is_of_the_moment_it_is_asked():
    now = Queues(waiting={("diarize", Lane.BATCH): 3}, open={"transcribe": 2}, parked=1, oldest={"diarize": 4.5})
    metrics = Metrics()
    metrics.follow(lambda: now)
    first, now = read(metrics), Queues()
    assert first["turnstream_jobs_waiting{lane=batch,operation=diarize}"] == 3
    assert first["turnstream_jobs_open{operation=transcribe}"] == 2
    assert first["turnstream_oldest_wait_seconds{operation=diarize}"] == 4.5
    assert (first["turnstream_jobs_parked"], read(metrics)["turnstream_jobs_parked"]) == (1, 0)


def test_how_the_worker_gets_on_is_of_the_moment_it_is_asked():
    now = Standstill(behind=3, settled=301.0, stuck="stuck: 3 records behind")
    metrics = Metrics()
    metrics.watch(lambda: now)
    first, now = read(metrics), Standstill(behind=0, settled=0.5, stuck=None)
    assert (first["turnstream_lag"], read(metrics)["turnstream_lag"]) == (3, 0)
    assert (first["turnstream_last_settled_seconds"], read(metrics)["turnstream_last_settled_seconds"]) == (301, 0.5)
    assert (first["turnstream_progress_stalled"], read(metrics)["turnstream_progress_stalled"]) == (1, 0)


def test_two_workers_in_one_process_count_apart():
    one, other = Metrics(), Metrics()
    one.swapped()
    assert read(other)["turnstream_swaps_total"] == 0
