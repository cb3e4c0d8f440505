"""Which files an archive has."""

import errno
import os
from contextlib import contextmanager
from pathlib import Path

import pytest

from schemas.errors import FileUnusable
from turnstream.backfill.archive import Archive, Choice, count


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp3", "a.WAV", "b/c.wav", "b/.hidden/d.wav", ".e.wav", "a.mp3.diarize.json", "f.mp3.diarize.json"):
        path = tmp_path / "archive" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "archive"


def names(archive: Archive) -> list[str]:
    return sorted(recording.name.as_posix() for recording in archive.recordings())


def test_hidden_files_and_results_of_what_is_there_are_passed_over(folder: Path):
    assert names(Archive(folder)) == ["a.WAV", "a.mp3", "b/c.wav", "f.mp3.diarize.json"]


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        (Choice(extensions=("wav",)), ["a.WAV", "b/c.wav"]),
        (Choice(extensions=(".MP3",)), ["a.mp3"]),
        (Choice(globs=("a.*",)), ["a.WAV", "a.mp3"]),
        (Choice(globs=("b/*", "*.mp3")), ["a.mp3", "b/c.wav"]),
        (Choice(globs=("b/*",), extensions=("mp3",)), []),
    ],
)
def test_some_may_be_chosen(folder: Path, choice: Choice, chosen: list[str]):
    assert names(Archive(folder, choice)) == chosen


def test_what_is_left_out_may_be_a_folder_or_a_file(folder: Path):
    assert names(Archive(folder, leave_out=[folder / "b", folder / "a.mp3"])) == ["a.WAV", "f.mp3.diarize.json"]


def test_links_to_files_count_and_links_to_folders_do_not(folder: Path):
    (folder / "round").symlink_to(folder, target_is_directory=True)
    (folder / "link.wav").symlink_to(folder / "a.WAV")
    (folder / "broken.wav").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe.wav")
    assert {"link.wav"} == set(names(Archive(folder))) - {"a.WAV", "a.mp3", "b/c.wav", "f.mp3.diarize.json"}


def test_a_folder_that_cannot_be_read_is_told_as_if_it_were_a_recording(folder: Path, monkeypatch: pytest.MonkeyPatch):
    scan = os.scandir

    def refuse(path: Path):
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert "b" in names(Archive(folder))


def test_a_folder_whose_reading_breaks_off_is_told_beside_what_was_read(folder: Path, monkeypatch: pytest.MonkeyPatch):
    scan = os.scandir

    @contextmanager
    def broken(path: Path):
        def some():
            with scan(path) as entries:
                yield from entries
            if Path(path).name == "b":
                raise OSError(errno.EIO, "Input/output error")

        yield some()

    monkeypatch.setattr(os, "scandir", broken)
    found = {each.name.as_posix(): each.fault for each in Archive(folder).recordings()}
    assert (found["b/c.wav"], found["b"], found["a.mp3"]) == ("", "Input/output error", "")


def test_a_link_that_leads_to_itself_is_told_and_ends_nothing(folder: Path):
    (folder / "loop.wav").symlink_to("loop.wav")
    (folder / "loop.mp3").symlink_to("a.mp3")
    found = {each.name.as_posix(): each.fault for each in Archive(folder).recordings()}
    assert found == dict.fromkeys(["a.WAV", "a.mp3", "b/c.wav", "f.mp3.diarize.json", "loop.mp3"], "") | {
        "loop.wav": os.strerror(errno.ELOOP)
    }
    assert names(Archive(folder, Choice(extensions=("mp3",)))) == ["a.mp3", "loop.mp3"], "nobody asked for it"


def test_a_list_says_what_it_means(folder: Path, tmp_path: Path):
    lines = "\ufeff# the best ones\na.mp3\r\n\n  \nb/../b/c.wav\n./#odd.wav\n../else.wav\n/far/away.wav\n.e.wav\n"
    (folder / "list.txt").write_text(lines, encoding="utf-8")
    found = list(Archive(folder / "list.txt", Choice(extensions=("flac",))).recordings())
    outside = (tmp_path / "else.wav").relative_to("/").as_posix()
    assert [each.name.as_posix() for each in found] == [
        "a.mp3", "b/c.wav", "#odd.wav", outside, "far/away.wav", ".e.wav"
    ]  # fmt: skip
    assert [each.path for each in found[-3:]] == [tmp_path / "else.wav", Path("/far/away.wav"), folder / ".e.wav"]


def test_names_that_are_no_text_come_as_they_are(folder: Path):
    odd = os.fsdecode(b"\xff.wav")
    (folder / odd).touch()
    (folder / "list.txt").write_bytes(b"\xff.wav\n")
    assert odd in names(Archive(folder))
    assert names(Archive(folder / "list.txt")) == [odd]


def test_they_can_be_counted_where_they_can_be_read_twice(folder: Path):
    assert count(Archive(folder), lambda: False) == 4
    assert count(Archive(folder), lambda: True) is None
    assert count(Archive(Path("-")), lambda: False) is None
    (folder / "list.txt").touch()
    gone = Archive(folder / "list.txt")
    (folder / "list.txt").unlink()
    assert count(gone, lambda: False) is None


def test_where_nothing_is_it_says_so(tmp_path: Path):
    with pytest.raises(FileUnusable, match="nowhere: name a folder"):
        Archive(tmp_path / "nowhere")
