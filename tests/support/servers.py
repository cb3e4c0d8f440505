"""The servers that a test starts for itself, to kill them: processes, or containers under `make test-containers`."""

import os
from typing import TYPE_CHECKING

CONTAINERS = "TURNSTREAM_TEST_CONTAINERS"
"""The variable that asks for containers."""

if TYPE_CHECKING or CONTAINERS not in os.environ:
    from tests.support.real import Kafka, Minio
else:
    from tests.support.containers import Kafka, Minio

__all__ = ["CONTAINERS", "Kafka", "Minio"]
