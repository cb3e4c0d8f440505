"""Every setting, read from the environment or from `.env`. The names are upper case there: `api_key` is API_KEY."""

import hashlib
import socket
import zlib
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ByteSize, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from schemas.errors import SettingsInvalid
from schemas.jobs import Mode

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30


def _listed(value: Any) -> Any:
    """A list as people write one into an environment variable."""
    return value.split(",") if isinstance(value, str) else value


def _words(value: Any) -> Any:
    """A list whose parts are separated by commas or spaces; an empty text is an empty one."""
    return value.replace(",", " ").split() if isinstance(value, str) else value


Network = IPv4Network | IPv6Network
Delay = Annotated[float, Field(ge=0, allow_inf_nan=False)]

STOP_REST = 7.0
"""Seconds a worker takes beyond DRAIN_LIMIT to end, at most: to hand jobs back, to leave its group, to end its engine."""


class StoreKind(StrEnum):
    FILESYSTEM = "filesystem"
    MINIO = "minio"


class BrokerKind(StrEnum):
    """What the broker is: the two want different timeouts and keep different promises."""

    EMBEDDED = "embedded"
    KAFKA = "kafka"


class DeliveryKind(StrEnum):
    """What the broker is asked to promise about the events of a run's end."""

    AUTO = "auto"
    AT_LEAST_ONCE = "at_least_once"
    TRANSACTIONAL = "transactional"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    # Models
    hf_token: SecretStr | None = Field(
        default=None, description="token of the Hugging Face hub; without it the open weights are used"
    )
    diarization_model: str = Field(
        default="pyannote/speaker-diarization-community-1",
        description="a pipeline on the hub, or a local directory that holds one",
    )
    transcribe_model: str = Field(
        default="auto",
        description="a Whisper model: a name on the hub such as `small`, or a local directory in CTranslate2's layout; auto: "
        "with HF_TOKEN large-v3-turbo on a GPU and small on a CPU, else the open weights, a tiny model of English",
    )
    enable_diarization: bool = Field(
        default=True, description="false: diarization is refused with 503; what is queued stays queued"
    )
    diarization_mode: Mode = Field(
        default=Mode.EXACT,
        description="how the voice prints are computed for jobs that do not say it: exact as stock pyannote.audio does, "
        "fast several times as fast and nearly as good",
    )
    keep_analysis: bool = Field(
        default=True,
        description="keep what the networks said of a recording until its job is erased, about 6 MB an hour of speech, so "
        "that another run of the job with another number of speakers takes seconds",
    )
    tf32: bool = Field(
        default=False,
        description="on CUDA: the embedding network computes in TF32, 2.4 times as fast on an H100; turns may differ a little",
    )
    diarization_max_batch_size: int = Field(default=8, ge=1, le=64, description="jobs the engine holds open at once")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(default="auto", description="where the networks run")
    engine: Literal["pyannote", "scripted"] = Field(
        default="pyannote", description="scripted answers without a model: to test all that surrounds it"
    )
    model_memory_budget: ByteSize | None = Field(
        default=None,
        description="bytes all loaded models of a worker may take, such as 6GiB; by default what the device has, less a "
        "margin, and without a GPU its part of that where there are several WORKERS",
    )
    model_idle_seconds: float = Field(
        default=900, ge=0, description="seconds after which a model nobody asks for is unloaded; 0: never"
    )
    scripted_load_seconds: float = Field(default=0, ge=0, description="seconds the scripted engine takes to load")
    scripted_model_bytes: ByteSize = Field(
        default=ByteSize(0), description="bytes a model of the scripted engine takes"
    )
    scripted_log: Path | None = Field(
        default=None, description="file to which scripted engines add a line for each stage of a job that they did"
    )
    cache_dir: Path | None = Field(
        default=None, description="where weights are kept; by default the user's cache directory"
    )

    # Workers
    workers: int = Field(
        default=1, ge=1, le=64, description="workers that `turnstream up` runs, each with a GPU of its own"
    )
    worker_name: str = Field(
        default="worker",
        pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$",
        description="under which this worker keeps its state; another for each on a machine",
    )
    worker_id: str = Field(
        default="",
        max_length=200,
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$",  # as Kafka allows
        description="this worker's fixed place in its group, another for each; by default made of host, WORKER_NAME and "
        "DATA_DIR. The WORKERS of one `turnstream up` add their number",
    )
    session_timeout: float | None = Field(
        default=None,
        ge=6,
        le=80,
        description="seconds of silence after which a worker counts as dead, and others get its jobs; a little more than its "
        "supervisor needs to start it again. By default 30 on Apache Kafka, and 6",
    )
    metrics_host: str = Field(default="127.0.0.1", description="address the worker serves /metrics on")
    metrics_port: int = Field(
        default=0, ge=0, le=65535, description="its port, the next one for each further worker; 0: a free one"
    )

    # Scheduling
    max_wait: float = Field(
        default=20,
        gt=0,
        description="seconds a job of another model than the warm one waits at most before the worker turns to it",
    )
    max_run: int = Field(
        default=500, ge=1, description="jobs after which the worker turns to another model, if jobs wait for one"
    )
    linger: float = Field(
        default=1,
        ge=0,
        description="seconds the worker stays with a model whose jobs still lie in the broker, although none has arrived",
    )

    # Access
    api_key: SecretStr | None = Field(default=None, description="the key callers send; several are separated by commas")
    host: str = Field(default="127.0.0.1", description="address the API listens on")
    port: int = Field(default=8000, ge=0, le=65535, description="port the API listens on")
    turnstream_url: str = Field(default="http://127.0.0.1:8000", description="where the command line finds the API")

    # Webhooks
    webhook_secret: SecretStr | None = Field(
        default=None,
        description="signs webhooks: whsec_ and 24 to 64 random bytes in base64; several, separated by commas, all sign. "
        "Without one no webhook is sent",
    )
    webhook_url: str = Field(
        default="", description="where the ends of jobs are told that name no webhook_url themselves"
    )
    webhook_allow_http: bool = Field(default=False, description="webhooks may go to http addresses, not only to https")
    webhook_allowed_networks: Annotated[tuple[Network, ...], BeforeValidator(_words), NoDecode] = Field(
        default=(),
        description="inside networks that webhooks may go to all the same, such as 10.1.0.0/16; separated by commas",
    )
    public_url: str = Field(
        default="", description="where callers reach the API: goes before the addresses that webhooks hold"
    )

    # What the stack stands on
    data_dir: Path = Field(default=Path("data"), description="objects, spools and state of this machine")
    broker: BrokerKind = Field(default=BrokerKind.EMBEDDED, description="embedded, or kafka for Apache Kafka")
    delivery: DeliveryKind = Field(
        default=DeliveryKind.AUTO,
        description="transactional: each end is told once; at_least_once: maybe again after a crash, under the same event "
        "id; auto: transactional where BROKER=kafka, which alone can do it",
    )
    kafka_bootstrap_servers: str = Field(
        default="", description="host:port of the broker; empty: `turnstream up` starts the embedded one"
    )
    broker_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="port of the embedded broker on 127.0.0.1; 0: a free one, another at each start",
    )
    consumer_group: str = Field(default="turnstream", description="Kafka group of the workers")
    partition_groups: int = Field(
        default=1, ge=1, le=1024, description="K: gpu-jobs has K * 13 partitions; at least the number of workers"
    )
    object_store: StoreKind = Field(default=StoreKind.FILESYSTEM, description="filesystem or minio")
    minio_endpoint: str = Field(default="127.0.0.1:9000", description="host:port of MinIO or another S3 server")
    minio_access_key: SecretStr = Field(default=SecretStr(""), description="its access key")
    minio_secret_key: SecretStr = Field(default=SecretStr(""), description="its secret key")
    minio_bucket: str = Field(default="turnstream", description="bucket for everything; made if absent")
    minio_region: str = Field(default="us-east-1", description="region of the bucket")
    minio_secure: bool = Field(default=False, description="https instead of http")
    minio_public_url: str = Field(
        default="",
        pattern=r"^(https?://[^/?#@\s]+/?)?$",
        description="address under which MinIO is reached from outside, such as https://store.example.org: the host of addresses "
        "that the store signs for uploads past the API. No call hands one out yet; empty: MINIO_ENDPOINT",
    )

    # Limits
    max_upload_bytes: int = Field(default=2 * GiB, ge=1, description="largest upload, in bytes")
    max_audio_seconds: float = Field(default=12 * 3600, gt=0, description="longest recording, in seconds")
    upload_timeout: float = Field(default=3600, gt=0, description="seconds an upload may take")
    wait_limit: float = Field(
        default=55,
        gt=0,
        description="seconds a call waits at most: POST /api/v1/diarize/file for its result, any call for what `Prefer: wait` "
        "asks for, and one with an Idempotency-Key for another that is under way with the same key",
    )
    store_timeout: float = Field(default=30, gt=0, description="seconds one call to the object store may take")
    publish_timeout: float = Field(default=10, gt=0, description="seconds the broker has to acknowledge an event")
    queue_limit: int = Field(
        default=16384,
        ge=16,
        description="job events of one partition that a worker holds; more stay with the broker until half of them are done. "
        "Fairness among keys reaches as far",
    )
    max_attempts: int = Field(
        default=3,
        ge=2,
        le=100,
        description="times a job is tried that takes the engine or the worker down, before it fails; at least 2, as whatever "
        "was open beside it is tried again, too",
    )
    retry_delays: Annotated[tuple[Delay, Delay, Delay], BeforeValidator(_listed), NoDecode] = Field(
        default=(5.0, 60.0, 600.0),
        description="seconds until a job is tried again whose failure may pass: the three tiers of gpu-jobs.retry",
    )
    waveform_memory: int = Field(
        default=512 * MiB,
        ge=0,
        description="bytes of decoded audio kept in memory; what is beyond goes to a spool file",
    )
    engine_step_limit: float = Field(
        default=120, gt=0, description="seconds the engine may be silent before it is replaced"
    )
    engine_load_limit: float = Field(
        default=1800, gt=0, description="seconds loading a model may take, its download included"
    )
    drain_limit: float = Field(default=5, ge=0, description="seconds a stopping worker gives its open jobs to end")
    stall_limit: float = Field(
        default=300,
        gt=0,
        description="seconds after which a worker that has work and gets nowhere says in /readyz and metrics that it is stuck",
    )

    idempotency_seconds: float = Field(
        default=24 * 3600,
        ge=60,
        description="seconds for which the answer to an Idempotency-Key is remembered at least; it is forgotten within an hour "
        "after",
    )

    # Sweep
    sweep_interval: float = Field(default=120, gt=0, description="seconds between two sweeps of the pending marks")
    accepting_limit: float = Field(
        default=900, gt=0, description="seconds after which a submission that never came to an end is erased"
    )

    # Log
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="what is logged: this and what is graver"
    )

    @cached_property
    def api_keys(self) -> dict[str, str]:
        """Key id -> key. The id is what records keep of a key: the first 16 hex digits of its SHA-256."""
        keys = self.api_key.get_secret_value().split(",") if self.api_key else []
        return {key_id(key): key for key in map(str.strip, keys) if key}

    @cached_property
    def webhook_secrets(self) -> tuple[str, ...]:
        return tuple(_words(self.webhook_secret.get_secret_value())) if self.webhook_secret else ()

    @property
    def loopback_only(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @cached_property
    def instance(self) -> str:
        """The worker's name among all workers: the same after a restart, another's never."""
        where = zlib.crc32(str(self.data_dir.absolute()).encode())
        return self.worker_id or f"{socket.gethostname()}.{self.worker_name}.{where:08x}"

    @cached_property
    def api_holder(self) -> str:
        """Under which an API process takes leases: the same after a restart, so that it does not wait for its own."""
        return f"{socket.gethostname()}:{self.port}:{self.data_dir.absolute()}"

    @property
    def transactional(self) -> bool:
        if self.delivery is DeliveryKind.AUTO:
            return self.broker is BrokerKind.KAFKA
        return self.delivery is DeliveryKind.TRANSACTIONAL

    @property
    def stop_limit(self) -> float:
        """Seconds after which a worker that was told to stop is gone, whatever it has left to do."""
        return self.drain_limit + STOP_REST

    def require_protection(self) -> None:
        """Raises SettingsInvalid where other machines could call and no key is asked of them."""
        if not self.api_keys and not self.loopback_only:
            raise SettingsInvalid(
                f"API_KEY is not set and HOST={self.host} can be reached from other machines: set API_KEY, or HOST=127.0.0.1"
            )

    @property
    def objects_dir(self) -> Path:
        """The object store, where that is the file system."""
        return self.data_dir / "objects"

    @property
    def spool_dir(self) -> Path:
        return self.data_dir / "spool"

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Of all sources together: so that an empty variable takes back what `.env` says."""
        return {name: value for name, value in given.items() if value != ""}

    @model_validator(mode="after")
    def _kafka_has_an_address(self) -> Self:
        if self.broker is BrokerKind.KAFKA and not self.kafka_bootstrap_servers:
            raise ValueError("BROKER=kafka wants KAFKA_BOOTSTRAP_SERVERS, such as broker:9092")
        if self.transactional and self.broker is BrokerKind.EMBEDDED:
            raise ValueError("DELIVERY=transactional wants BROKER=kafka: the embedded broker knows no transactions")
        return self


def key_id(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


ANONYMOUS = "anonymous"
"""The owner of jobs on a service without keys, which listens on loopback only."""
