"""Everything that .env may say to docker-compose.yml, each with its sentence and its default: `.env.example`.

python deploy/env_example.py > .env.example
"""

import re
import textwrap
from pathlib import Path

from turnstream.settings_reference import groups

COMPOSE = Path(__file__).resolve().parent.parent / "docker-compose.yml"
SECRETS = {
    "KAFKA_CLUSTER_ID": "names the Kafka cluster to its own disk: 22 characters, never to be changed",
}
OWN = {
    "API_PORT": "port of this machine, on 127.0.0.1, at which the API is reached",
    "KAFKA_PORT": "port of this machine, on 127.0.0.1, at which consumers on it reach Kafka",
    "MINIO_PORT": "port of this machine, on 127.0.0.1, at which MinIO is reached",
    "CPU_WORKERS": "workers without a GPU",
    "GPU_WORKERS": "workers with a GPU each, under the profile gpu",
    "COMPOSE_PROFILES": "gpu: workers with a GPU are started, too",
    "TORCH_INDEX": "package index with CPU builds of torch, for the image of workers without a GPU: 2 GB instead of 6 GB",
    "MINIO_IMAGE": "MinIO, or another server that speaks S3 and takes the same command line",
    "KAFKA_LOG_RETENTION_HOURS": "how long Kafka keeps events for those who read them later",
    "WORKER_STOP_LIMIT": "what a worker gets to stop in order: more than DRAIN_LIMIT and 7 seconds",
    "API_MEMORY": "most memory of the API",
    "WORKER_MEMORY": "most memory of a worker without a GPU",
    "GPU_WORKER_MEMORY": "most memory of a worker with a GPU, beside that of the GPU",
    "KAFKA_MEMORY": "most memory of Kafka",
    "MINIO_MEMORY": "most memory of MinIO",
}
"""Variables of docker-compose.yml that are no settings of Turnstream."""
HEAD = """\
# Settings of the production stack. Generated: python deploy/env_example.py > .env.example
#
# `sh deploy/init.sh` writes .env with the secrets; copy there what is to be otherwise than here. An empty value is
# as good as none. Times are in seconds, sizes in bytes. What is "fixed" docker-compose.yml says itself, and what is "not for
# containers" it hands to none: both hold for commands on this machine alone.
"""


def page() -> str:
    text = COMPOSE.read_text()
    lines = [HEAD, "# --- Secrets without which nothing starts", ""]
    lines += [entry for name, sentence in SECRETS.items() for entry in _entry(name, "", sentence)]
    lines += ["# --- The stack", ""]
    lines += [entry for name, sentence in OWN.items() for entry in _entry(name, default(text, name), sentence)]
    for heading, settings in groups().items():
        lines += [f"# --- {heading}", ""]
        for each in settings:
            sentence = f"{place(text, each.name)}{each.sentence}"
            lines += _entry(each.name, default(text, each.name) or each.default, sentence)
    return "\n".join(lines)


def default(text: str, name: str) -> str:
    """What docker-compose.yml takes where .env does not say it; empty where it leaves it to the service."""
    found = re.search(rf"\$\{{{name}:-((?:[^{{}}]|\$\{{[^}}]*\}})*)\}}", text)
    return found[1] if found else ""


def place(text: str, name: str) -> str:
    """Whether .env has anything to say of a setting."""
    if re.search(rf"^  {name}: [^$\n]", text, re.MULTILINE):
        return "fixed; "
    return "" if re.search(rf"^  {name}:", text, re.MULTILINE) else "not for containers; "


def _entry(name: str, value: str, sentence: str) -> list[str]:
    return [*textwrap.wrap(sentence, 118, initial_indent="# ", subsequent_indent="# "), f"#{name}={value}", ""]


if __name__ == "__main__":
    print(page(), end="")
