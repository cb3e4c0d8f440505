"""docs/settings.md is the class told as a page, and what it says of a setting is so."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from turnstream import settings_reference
from turnstream.settings import Settings
from turnstream.settings_reference import Setting

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
EVERY = [setting for settings in settings_reference.groups().values() for setting in settings]


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == settings_reference.page(), (
        "run: python -m turnstream.settings_reference > docs/settings.md"
    )


def test_every_setting_stands_under_a_heading():
    assert [setting.name.lower() for setting in EVERY] == [*Settings.model_fields]
    assert all(heading[:1].isupper() for heading in settings_reference.groups())
    assert all(setting.sentence for setting in EVERY)


@pytest.mark.parametrize("setting", [each for each in EVERY if each.default], ids=lambda setting: setting.name)
def test_a_default_that_is_set_changes_nothing(setting: Setting, monkeypatch: pytest.MonkeyPatch):
    without = getattr(Settings(_env_file=None), setting.name.lower())
    monkeypatch.setenv(setting.name, setting.default)
    assert getattr(Settings(_env_file=None), setting.name.lower()) == without


def test_a_range_is_what_the_class_holds_to(monkeypatch: pytest.MonkeyPatch):
    ranges = {setting.name: setting.range for setting in EVERY}
    assert ranges["DIARIZATION_MAX_BATCH_SIZE"] == "1 to 64"
    assert ranges["SESSION_TIMEOUT"] == "6 to 80"
    assert ranges["MAX_WAIT"] == "more than 0"
    assert ranges["DRAIN_LIMIT"] == "at least 0"
    assert ranges["BROKER"] == "embedded, kafka"
    assert ranges["TF32"] == "true, false"
    assert ranges["HOST"] == ""
    monkeypatch.setenv("DIARIZATION_MAX_BATCH_SIZE", "65")
    with pytest.raises(ValidationError):
        Settings(_env_file=None)


def test_secrets_are_known():
    secrets = {setting.name for setting in EVERY if setting.secret}
    assert {"API_KEY", "HF_TOKEN", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"} <= secrets
    assert "HOST" not in secrets
