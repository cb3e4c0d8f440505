"""docker-compose.yml without an engine: Compose takes it, it hands on every setting, and nobody can do more than he must."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from check_jsonschema.builtin_schemas import get_builtin_schema
from jsonschema import Draft7Validator
from jsonschema.validators import validator_for

from tests.support import containers, operators
from tests.support.compose_file import (
    ROOT,
    Missing,
    Reference,
    Service,
    env_file,
    interpolated,
    references,
    services,
    tree,
)
from tests.support.dockerfile import stage
from turnstream.settings import Settings

SECRETS = {"API_KEY", "WEBHOOK_SECRET", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", "KAFKA_CLUSTER_ID"}
NOT_FOR_CONTAINERS = {"WORKERS", "WORKER_NAME", "WORKER_ID", "BROKER_PORT", "TURNSTREAM_URL"}
"""Of `turnstream up`, of the command line, and what must differ among workers that are made alike."""
PRIVATE = {"API_KEY": {"api"}, "WEBHOOK_SECRET": {"api"}, "HF_TOKEN": {"worker", "worker-gpu"}}
OURS = {"topics", "api", "worker", "worker-gpu"}


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, str]:
    subprocess.run(["sh", str(ROOT / "deploy" / "init.sh"), str(tmp_path / ".env")], check=True, timeout=30)
    return env_file(tmp_path / ".env")


@pytest.fixture
def all_services(secrets: dict[str, str]) -> dict[str, Service]:
    return {service.name: service for service in services(secrets, ["gpu"])}


def names(service: Service) -> set[str]:
    return set(service.written.get("environment", {}))


def test_it_is_what_the_compose_specification_allows():
    schema = get_builtin_schema("vendor.compose-spec")
    check = validator_for(schema, default=Draft7Validator)(schema)
    assert [error.message for error in check.iter_errors(tree())] == []
    wrong = tree()
    wrong["services"]["api"]["restarts"] = "always"
    assert list(check.iter_errors(wrong))


def test_every_setting_reaches_who_needs_it_and_none_is_made_up(all_services: dict[str, Service]):
    settings = {name.upper() for name in Settings.model_fields}
    handed = set().union(*(names(all_services[name]) for name in OURS))
    assert handed == settings - NOT_FOR_CONTAINERS, "docker-compose.yml: x-settings and what follows it"
    assert names(all_services["worker"]) == names(all_services["worker-gpu"])
    for name, owners in PRIVATE.items():
        assert {service for service in OURS if name in names(all_services[service])} == owners


@pytest.mark.parametrize("missing", sorted(SECRETS))
def test_a_secret_that_is_missing_is_named(secrets: dict[str, str], missing: str):
    assert secrets.keys() == SECRETS
    for without in ({**secrets, missing: ""}, {name: value for name, value in secrets.items() if name != missing}):
        with pytest.raises(Missing, match=rf"required variable {missing} is missing a value: run sh deploy/init\.sh"):
            services(without)


def test_there_is_no_default_password():
    given = {reference for reference in references(tree()) if reference.name in SECRETS}
    assert {reference.name for reference in given} == SECRETS
    assert {reference.operator for reference in given} == {":?"}


def test_every_published_port_is_on_this_machine_alone_and_settable(secrets: dict[str, str]):
    moved = {"API_PORT": "18000", "KAFKA_PORT": "19092", "MINIO_PORT": "19000"}
    published = {service.name: service.written.get("ports", []) for service in services(secrets | moved, ["gpu"])}
    assert {name: ports for name, ports in published.items() if ports} == {
        "api": ["127.0.0.1:18000:8000"],
        "kafka": ["127.0.0.1:19092:29092"],
        "minio": ["127.0.0.1:19000:9000"],
    }
    kafka, api = (next(each for each in services(secrets | moved) if each.name == name) for name in ("kafka", "api"))
    assert kafka.environment["KAFKA_ADVERTISED_LISTENERS"] == "INSIDE://kafka:9092,HOST://127.0.0.1:19092"
    assert api.environment["MINIO_PUBLIC_URL"] == "http://127.0.0.1:19000"
    assert api.environment["PUBLIC_URL"] == "http://127.0.0.1:18000"


def test_a_setting_of_the_file_env_is_handed_on_and_absent_else(secrets: dict[str, str]):
    def worker(env: dict[str, str]) -> dict[str, str]:
        return next(each for each in services(secrets | env) if each.name == "worker").environment

    assert "HF_TOKEN" not in worker({})
    assert worker({"HF_TOKEN": "hf_x", "MAX_WAIT": "7"}).items() >= {"HF_TOKEN": "hf_x", "MAX_WAIT": "7"}.items()


def test_nobody_can_do_more_than_he_must(all_services: dict[str, Service]):
    for service in all_services.values():
        written = service.written
        assert written["cap_drop"] == ["ALL"], service.name
        assert written["security_opt"] == ["no-new-privileges:true"], service.name
        assert written["deploy"]["resources"]["limits"].keys() >= {"memory", "pids"}, service.name
        assert written["logging"]["options"].keys() == {"max-size", "max-file"}, service.name
        assert "privileged" not in written
        assert not any(Path(str(name)).is_absolute() for name, _ in service.mounts), "a folder of the host"
        assert service.restarts == (service.name != "topics"), service.name
        if service.restarts:
            assert service.health, service.name
    for name in OURS:
        assert all_services[name].written["read_only"]
        assert all_services[name].written["init"]


def test_services_start_when_what_they_stand_on_is_healthy(all_services: dict[str, Service]):
    servers = {"kafka": "service_healthy", "minio": "service_healthy"}
    assert all_services["topics"].waits_for == servers
    for name in OURS - {"topics"}:
        assert all_services[name].waits_for == servers | {"topics": "service_completed_successfully"}


def test_a_worker_gets_the_time_it_needs_to_stop(all_services: dict[str, Service]):
    assert all_services["worker"].grace > Settings(_env_file=None).stop_limit


def test_commands_and_health_checks_are_those_of_the_images(all_services: dict[str, Service]):
    for name in OURS - {"topics"}:
        built = stage(str(all_services[name].target))
        assert (all_services[name].command, all_services[name].health) == (built.command, built.health)
        fixed = {key: value for key, value in built.environment.items() if key.lower() in Settings.model_fields}
        assert {key: all_services[name].environment[key] for key in fixed if key in names(all_services[name])} == {
            key: value for key, value in fixed.items() if key in names(all_services[name])
        }


def test_operators_type_into_services_that_are_there(all_services: dict[str, Service]):
    """tests/e2e/test_production.py does as they do."""
    commands = list(operators.typed("tests/e2e/test_production.py"))
    assert {each.verb for each in commands} == {"exec", "run"}
    assert {each.service for each in commands} <= all_services.keys()


def test_servers_are_those_that_the_tests_run_on(all_services: dict[str, Service]):
    assert all_services["kafka"].written["image"] == containers.Kafka.IMAGE
    assert all_services["minio"].written["image"] == containers.Minio.IMAGE


def test_each_service_takes_its_settings(all_services: dict[str, Service]):
    for name in OURS:
        given = {key.lower(): value for key, value in all_services[name].environment.items()}
        settings = Settings(_env_file=None, **given)
        assert (settings.broker, settings.object_store, settings.transactional) == ("kafka", "minio", True)
        assert bool(settings.api_keys) == (name == "api")


def test_env_example_says_everything_there_is():
    shown = (ROOT / ".env.example").read_text()
    done = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "env_example.py")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert shown == done.stdout, "run: python deploy/env_example.py > .env.example"
    listed = re.findall(r"^#([A-Z0-9_]+)=(.*)$", shown, re.MULTILINE)
    assert len(uncommented()) == len(listed)
    used = {reference.name for reference in references(tree())}
    assert {name for name, _ in listed} == {name.upper() for name in Settings.model_fields} | used | {
        "COMPOSE_PROFILES"
    }
    assert {value for name, value in listed if name in SECRETS} == {""}


def uncommented() -> dict[str, str]:
    """Every line of .env.example, as if it were one of .env."""
    return dict(re.findall(r"^#([A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_line_of_env_example_that_is_uncommented_changes_nothing_of_a_service(
    secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str
):
    def settings(env: dict[str, str]) -> Settings:
        service = next(each for each in services(interpolated(env, env), ["gpu"]) if each.name == name)
        with monkeypatch.context() as inside:
            for variable, value in service.environment.items():
                inside.setenv(variable, value)
            return Settings(_env_file=None)

    lines = {key: value for key, value in uncommented().items() if key not in SECRETS}
    assert settings(secrets | lines) == settings(secrets)


def test_the_lines_of_env_example_are_settings_of_this_machine_too(tmp_path: Path):
    file = tmp_path / ".env"
    file.write_text("".join(f"{name}={value}\n" for name, value in uncommented().items()))
    without = Settings(_env_file=None)
    of_the_stack = {
        "partition_groups": 4,
        "public_url": "http://127.0.0.1:8000",
        "minio_public_url": "http://127.0.0.1:9000",
    }
    assert Settings(_env_file=file) == without.model_copy(update=of_the_stack)


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("a$$b", "a$b"),
        ("$A-${A}", "1-1"),
        ("${B:-2}${A:-2}", "21"),
        ("${B:-x${A}y${C:-z}}!", "x1yz!"),
        ("${B}", ""),
        ("${E:-d}", "d"),
    ],
)
def test_variables_are_put_in_as_compose_does(text: str, becomes: str):
    assert interpolated({"x": [text]}, {"A": "1", "E": ""}) == {"x": [becomes]}


def test_references_within_defaults_are_found():
    value: Any = {"x": ["${A:-b${C:?say it}}"]}
    assert [*references(value)] == [Reference("A", ":-", "b${C:?say it}"), Reference("C", ":?", "say it")]
