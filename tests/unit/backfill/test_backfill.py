"""An archive through a service: each recording once, its result in its place, whatever goes wrong on the way."""

import json
import os
import threading
from pathlib import Path

import pytest

from schemas.errors import FileUnusable, ServiceUnreachable, SettingsInvalid, Unauthorized
from schemas.jobs import DiarizeParams, Lane, Mode
from schemas.results import DiarizationResult
from tests.support.served import Served
from tests.unit.backfill.conftest import Fill, results
from turnstream.backfill import archive as walking
from turnstream.backfill import filing
from turnstream.backfill.archive import Choice
from turnstream.backfill.found import Found, found_in
from turnstream.backfill.names import FAILURES, STATE
from turnstream.backfill.state import State

ALL = ["deep/one again.wav.diarize.json", "deep/three.wav.diarize.json", "one.wav.diarize.json", "two.wav.diarize.json"]


def failures(folder: Path) -> dict[str, tuple[str, str | None]]:
    lines = [json.loads(line) for line in (folder / FAILURES).read_text().splitlines()]
    return {Path(line["path"]).name: (line["code"], line["job"]) for line in lines}


def submissions(service: Served) -> int:
    return service.asked["POST /api/v1/jobs"]


def test_results_lie_beside_the_recordings_and_equal_recordings_are_one_job(service, archive, fill: Fill):
    assert fill(archive)
    assert results(archive) == ALL
    read = {name: DiarizationResult.model_validate_json((archive / name).read_bytes()).job_id for name in ALL}
    assert read["one.wav.diarize.json"] == read["deep/one again.wav.diarize.json"]
    assert service.runs() == dict.fromkeys(set(read.values()), 1)
    assert len(set(read.values())) == submissions(service) == 3
    with service.client() as client:
        assert {job.lane for job in client.jobs()} == {Lane.BATCH}


def test_what_is_done_is_not_asked_for_again(service, archive, fill: Fill, capsys):
    assert fill(archive)
    service.asked.clear()
    assert fill(archive)
    assert not service.asked
    assert "4 there before" in capsys.readouterr().out
    (archive / ALL[0]).unlink()
    (archive / "new name.wav").write_bytes((archive / "two.wav").read_bytes())
    assert fill(archive)
    assert submissions(service) == 0
    assert results(archive) == sorted([*ALL, "new name.wav.diarize.json"])


def test_other_parameters_are_another_job_whose_result_takes_the_place(service, archive, fill: Fill):
    assert fill(archive)
    before = (archive / ALL[2]).read_bytes()
    assert fill(archive, params=DiarizeParams(mode=Mode.FAST))
    after = (archive / ALL[2]).read_bytes()
    assert len(service.runs()) == 6
    assert before != after
    service.asked.clear()
    assert fill(archive)
    assert submissions(service) == 0
    assert (archive / ALL[2]).read_bytes() == before


def test_results_go_to_a_folder_in_another_format(service, archive, fill: Fill, tmp_path):
    out = tmp_path / "out"
    assert fill(archive, out=out, format_="rttm")
    assert results(archive) == []
    assert results(out) == [name.replace(".json", ".rttm") for name in ALL]
    assert (out / "one.wav.diarize.rttm").read_text().startswith("SPEAKER ")
    assert (out / STATE).exists() and not (archive / STATE).exists()


@pytest.mark.parametrize("format_", ["json", "rttm"])
def test_the_summary_tells_what_was_computed_and_what_the_results_warn_of(
    service, archive, fill: Fill, capsys, format_: str
):
    service.trouble.damaged = {"two.wav", "three.wav"}
    assert fill(archive, format_=format_)
    out = capsys.readouterr().out
    assert "4 results written, 0:20 of audio;" in out, "what each result says, not what the file claims"
    assert "warnings: audio_damaged in 2\n" in out
    (archive / "new.wav").write_bytes((archive / "one.wav").read_bytes())
    assert fill(archive, format_=format_)
    out = capsys.readouterr().out
    assert "1 result written, 0:05 of audio; 4 there before, 0 failed\n" in out
    assert "warnings" not in out


def test_a_result_that_says_nothing_of_its_recording_is_a_result():
    assert found_in(b"RIFF") == found_in(b'{"audio": "loud", "warnings": 3}') == found_in(b"{}") == Found()


def test_a_folder_for_results_inside_the_archive_is_no_part_of_it(service, archive, fill: Fill):
    for _ in range(2):
        assert fill(archive, out=archive / "results")
    assert submissions(service) == 3


def test_what_is_no_recording_is_told_and_stops_nothing(service, archive, fill: Fill, capsys):
    (archive / "notes.txt").write_text("call Anna")
    (archive / "empty.wav").touch()
    assert not fill(archive)
    assert failures(archive) == {"notes.txt": ("audio_unreadable", None), "empty.wav": ("audio_empty", None)}
    assert results(archive) == sorted([*ALL, "notes.txt", FAILURES])
    assert f"2 failed: {archive / FAILURES}" in capsys.readouterr().out
    assert fill(archive, choice=Choice(globs=("[!e]*.wav",)))
    assert not (archive / FAILURES).exists()


def test_a_link_that_leads_to_itself_is_told_and_stops_nothing(archive, fill: Fill):
    odd = os.fsdecode(b"\xff.wav")
    for name in ("loop.wav", odd):
        (archive / name).symlink_to(name)
    assert not fill(archive)
    assert failures(archive) == dict.fromkeys(("loop.wav", odd), ("file_unusable", None))
    assert results(archive) == sorted([*ALL, FAILURES])


def test_a_line_that_can_be_no_name_is_told_and_stops_nothing(archive, fill: Fill, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text(f"{archive}/one.wav\0{archive}/two.wav\0\n{archive}/two.wav\n")
    assert not fill(listed, out=tmp_path / "out")
    [(code, _)] = failures(tmp_path / "out").values()
    assert code == "file_unusable"
    assert len(results(tmp_path / "out")) == 2


def test_a_job_that_failed_is_computed_once_more_by_the_next_call(service, archive, fill: Fill):
    service.trouble.failing = {"two.wav"}
    assert not fill(archive)
    [(code, job)] = failures(archive).values()
    assert (code, service.runs()[job]) == ("engine_failed", 1)
    assert not fill(archive)
    assert service.runs()[job] == 2
    service.trouble.failing.clear()
    assert fill(archive)
    assert results(archive) == ALL
    assert json.loads((archive / "two.wav.diarize.json").read_text())["run"] == "backfill-3"
    assert submissions(service) == 3


def test_a_run_that_was_not_asked_for_before_a_kill_is_asked_for_under_its_name(
    service, archive, fill: Fill, monkeypatch
):
    service.trouble.failing = {"two.wav"}
    assert not fill(archive)

    def killed(*_, **__):
        raise ServiceUnreachable

    with monkeypatch.context() as patched:
        patched.setattr(filing.Client, "rerun", killed)
        with pytest.raises(ServiceUnreachable):
            fill(archive)
    service.trouble.failing.clear()
    assert fill(archive)
    assert json.loads((archive / "two.wav.diarize.json").read_text())["run"] == "backfill-2"


def test_a_job_that_was_erased_is_handed_in_anew(service, archive, fill: Fill):
    assert fill(archive)
    (archive / "two.wav.diarize.json").rename(archive / "two.old")
    job = json.loads((archive / "two.old").read_text())["job_id"]
    (archive / "two.old").unlink()
    with service.client() as client:
        client.erase(job)
    assert fill(archive)
    assert json.loads((archive / "two.wav.diarize.json").read_text())["job_id"] != job
    assert len(service.runs()) == 3


def test_answers_that_are_lost_and_moments_that_are_asked_for_double_nothing(service, archive, fill: Fill, capsys):
    service.trouble.lost = 3
    service.trouble.refusals = [(503, "0"), (429, "1")]
    assert fill(archive)
    assert results(archive) == ALL
    assert sorted(service.runs().values()) == [1, 1, 1]
    assert submissions(service) == 8
    assert "waiting: " in capsys.readouterr().out


def test_without_its_state_it_finds_its_jobs_by_their_keys(service, archive, fill: Fill):
    assert fill(archive)
    (archive / STATE).unlink()
    assert fill(archive)
    assert sorted(service.runs().values()) == [1, 1, 1]


def test_no_more_are_under_way_than_are_allowed(service, archive, fill: Fill):
    assert fill(archive, at_once=2)
    assert service.most <= 2


def test_handed_in_now_and_fetched_later(service, archive, fill: Fill, capsys):
    assert fill(archive, wait=False)
    assert results(archive) == []
    assert "3 files handed in, 1 before" in capsys.readouterr().out
    assert fill(archive)
    assert (results(archive), submissions(service)) == (ALL, 3)


def test_a_file_of_somebody_else_is_never_written_over(service, archive, fill: Fill):
    (archive / "two.wav.diarize.json").write_text("my notes")
    assert not fill(archive)
    assert (archive / "two.wav.diarize.json").read_text() == "my notes"
    assert failures(archive)["two.wav"][0] == "file_unusable"
    mine = archive / "one.wav.diarize.json"
    mine.write_text("corrected by hand")
    (archive / "two.wav.diarize.json").unlink()
    assert fill(archive)
    assert not fill(archive, params=DiarizeParams(num_speakers=2))
    assert mine.read_text() == "corrected by hand"


def test_a_recording_that_changes_while_it_is_sent_leaves_no_job(service, archive, fill: Fill, monkeypatch):
    path = archive / "two.wav"
    submit, content = filing.Client.submit, path.read_bytes()

    def changed(self, recording: Path, *what, **how):
        if recording == path:
            path.write_bytes(content + bytes(100))
        return submit(self, recording, *what, **how)

    with monkeypatch.context() as patched:
        patched.setattr(filing.Client, "submit", changed)
        assert not fill(archive)
    assert failures(archive)["two.wav"][0] == "file_unusable"
    assert len(service.runs()) == 2
    path.write_bytes(content)
    assert fill(archive)
    assert len(service.runs()) == 3


def test_a_wrong_key_ends_it_at_once(archive, tmp_path, prober, fill: Fill):
    from tests.support.served import serving

    with serving(tmp_path / "closed", prober, api_key="right") as closed:
        with pytest.raises(Unauthorized):
            fill(archive, url=closed.url, key="wrong")
        assert not (archive / FAILURES).exists()


def test_what_is_no_address_ends_it_at_once(archive, fill: Fill):
    with pytest.raises(SettingsInvalid, match="not an address"):
        fill(archive, url="ftp://somewhere")


def test_two_at_a_time_on_one_archive_are_one_too_many(archive, fill: Fill):
    with State(archive / STATE), pytest.raises(FileUnusable, match="another backfill is at work"):
        fill(archive)
    assert fill(archive)


@pytest.mark.parametrize("place", ["failures", "state"])
def test_files_of_others_are_not_taken_for_its_own(archive, fill: Fill, place: str):
    other = archive / "precious.txt"
    other.write_text("not a list of failures, and no database either\n" * 100)
    with pytest.raises(FileUnusable, match=r"precious\.txt"):
        fill(archive, **{place: other})
    assert other.read_text().startswith("not a list")


def test_a_list_that_comes_in_by_and_by_is_worked_on_as_it_comes(service, archive, fill: Fill, monkeypatch, tmp_path):
    first_is_done, lines = threading.Event(), [f"{archive}/one.wav\n", "# half of it\n", f"{archive}/two.wav\n"]

    class Coming:
        def reconfigure(self, **_) -> None: ...

        def __iter__(self):
            yield lines[0]
            first_is_done.set()
            yield from lines[1:]

    monkeypatch.setattr(walking.sys, "stdin", Coming())
    assert fill(Path("-"), out=tmp_path / "out")
    assert first_is_done.is_set()
    assert len(results(tmp_path / "out")) == 2
