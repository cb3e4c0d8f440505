"""What the processes of the stack write to standard error."""

import subprocess
import sys

from tests.support.stores import closed_port

CALL = """
import sys
from turnstream import logs
from turnstream.object_store.minio import MinioStore
from schemas.errors import StoreUnavailable
logs.configure("INFO")
store = MinioStore(sys.argv[1], access_key="a", secret_key="b", bucket="test", region="us-east-1", secure=False, timeout=5)
try:
    store.get("k")
except StoreUnavailable:
    logs.logging.getLogger("turnstream").warning("that is all")
"""


def test_a_store_that_is_away_is_not_told_of_at_each_try():
    done = subprocess.run(
        [sys.executable, "-c", CALL, closed_port()], capture_output=True, text=True, check=True, timeout=60
    )
    [line] = done.stderr.splitlines()
    assert line.endswith("WARNING turnstream: that is all")
