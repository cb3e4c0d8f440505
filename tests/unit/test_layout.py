"""`turnstream layout`, on a data directory without a stack. How it grows on a broker is in tests/contract/test_growing.py."""

from pathlib import Path

import pytest

from schemas.errors import BrokerUnavailable, DataDirInUse, LayoutMismatch, SettingsInvalid, StackFailed
from tests.support.stores import closed_port
from turnstream import run_dir
from turnstream.layout import create, grow, show
from turnstream.object_store import connect
from turnstream.operations import installed
from turnstream.records import Records
from turnstream.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, data_dir=tmp_path)


@pytest.fixture
def records(settings: Settings) -> Records:
    records = Records(connect(settings))
    records.agree_on_layout(2, installed())
    return records


def test_it_shows_where_jobs_go(settings, records, capsys):
    show(settings)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "2 group(s) of 13 partitions, 6 slots taken" in lines
    assert {"diarize/interactive 0, 13", "transcript/batch 5, 18", "gpu-jobs 26"} < {*lines}


@pytest.mark.usefixtures("records")
def test_many_groups_are_shown_by_their_first_and_last(settings, capsys):
    grow(settings, 20)
    show(settings)
    assert "0, 13, 26, ..., 247" in capsys.readouterr().out


def test_it_grows_while_no_stack_runs_and_says_what_to_do(settings, records, capsys):
    for _ in range(2):
        grow(settings, 3)
        assert "when the stack is started" in " ".join(capsys.readouterr().out.split())
    assert records.layout().groups == 3
    with pytest.raises(LayoutMismatch, match="fewer"):
        grow(settings, 2)


def test_the_embedded_broker_is_not_grown_while_it_runs(settings, records):
    with run_dir.locked(settings.data_dir), pytest.raises(DataDirInUse, match="stop it"):
        grow(settings, 3)
    assert records.layout().groups == 2


def test_where_nothing_ever_ran_there_is_no_layout(settings):
    for ask in (show, lambda of: grow(of, 2)):
        with pytest.raises(StackFailed, match=r"there is no object store in .*DATA_DIR"):
            ask(settings)
    assert [*settings.data_dir.iterdir()] == []
    connect(settings)
    for ask in (show, lambda of: grow(of, 2)):
        with pytest.raises(LayoutMismatch, match="no layout yet"):
            ask(settings)


def test_without_an_address_of_a_broker_nothing_is_created(settings):
    with pytest.raises(SettingsInvalid, match="KAFKA_BOOTSTRAP_SERVERS"):
        create(settings, 0)


def test_what_does_not_answer_in_time_is_named(tmp_path):
    with pytest.raises(BrokerUnavailable):
        create(Settings(_env_file=None, data_dir=tmp_path, kafka_bootstrap_servers=closed_port(), publish_timeout=1), 0)
