"""The worker's metrics, as Prometheus reads them, and their table in docs/metrics.md."""

from prometheus_client.parser import text_string_to_metric_families

from processor.engines.base import Account
from processor.metrics import Metrics
from processor.model_manager import Reason
from processor.moments import Queues, Standstill
from schemas.jobs import JobState, Lane
from tests.support.metrics import PAGE, documented, exported, samples


def read(metrics: Metrics) -> dict[str, float]:
    return samples(metrics.exposition()[0].decode())


def test_the_table_is_what_a_worker_serves():
    metrics = Metrics()
    place = "diarize", Lane.BATCH
    metrics.follow(lambda: Queues({place: 1}, {"diarize": 1}, 0, {place: 1.0}))
    metrics.watch(lambda: Standstill(behind=0, settled=0.0, stuck=None))
    metrics.weigh(lambda: 5)
    metrics.loaded("diarize", 1.0, 1)
    metrics.unloaded("diarize", Reason.IDLE)
    metrics.opened(*place, 1.0)
    metrics.entered("diarize", warm=True)
    account = Account()
    account.stepped("diarize", 0.1)
    account.passed("diarize", 3, 8)
    metrics.worked(account.told((1, 2)))
    metrics.computed("diarize", {"decode": 1.0, "total": 2.0}, 10.0)
    metrics.ended("diarize", JobState.FAILED)
    metrics.failed("diarize", "engine_failed")
    metrics.put_off("diarize", "engine_failed")
    metrics.set_aside("engine_failed")
    metrics.engine_lost("engine_crashed")
    served = exported(text_string_to_metric_families(metrics.exposition()[0].decode()))
    assert sorted(documented("Of a worker")) == sorted(served)


def test_the_table_names_every_reason():
    assert all(f"{reason} (" in PAGE.read_text() for reason in Reason)


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
    metrics.engine_lost("engine_hung")
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
    now = Queues(
        waiting={("diarize", Lane.BATCH): 3}, open={"transcribe": 2}, parked=1, oldest={("diarize", Lane.BATCH): 4.5}
    )
    metrics = Metrics()
    metrics.follow(lambda: now)
    first, now = read(metrics), Queues()
    assert first["turnstream_jobs_waiting{lane=batch,operation=diarize}"] == 3
    assert first["turnstream_jobs_open{operation=transcribe}"] == 2
    assert first["turnstream_oldest_wait_seconds{lane=batch,operation=diarize}"] == 4.5
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


def test_what_the_engine_did_is_told_once():
    account, metrics = Account(), Metrics()
    account.stepped("diarize", 0.2)
    account.passed("diarize", 5, 8)
    account.passed("diarize", 8, 8)
    metrics.worked(account.told(None))
    metrics.worked(account.told(None))
    read_now = read(metrics)
    assert read_now["turnstream_step_seconds_count{model=diarize}"] == 1
    assert read_now["turnstream_pass_pieces_total{model=diarize}"] == 13
    assert read_now["turnstream_pass_room_total{model=diarize}"] == 16
    assert not any(name.startswith("turnstream_device_memory") for name in read_now)
    metrics.worked(account.told((3, 80)))
    assert read(metrics)["turnstream_device_memory_bytes{kind=used}"] == 3


def test_the_parts_of_a_computation_and_its_share_of_real_time():
    metrics = Metrics()
    metrics.computed("diarize", {"queue": 9.0, "decode": 0.25, "embedding": 4.0, "total": 5.0}, 100.0)
    metrics.computed("speak", {"total": 5.0}, 0.0)  # works on no recording
    read_now = read(metrics)
    assert read_now["turnstream_stage_seconds_sum{model=diarize,stage=embedding}"] == 4.0
    assert not any("stage=total" in name or "stage=queue" in name for name in read_now)
    assert read_now["turnstream_real_time_factor_sum{model=diarize}"] == 0.05
    assert read_now["turnstream_audio_seconds_total{model=diarize}"] == 100.0
    assert not any(name.startswith("turnstream_real_time") and "speak" in name for name in read_now)
