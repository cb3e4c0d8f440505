"""What schemathesis cannot read off docs/openapi.json; it imports this file by SCHEMATHESIS_HOOKS."""

import tempfile
from pathlib import Path

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, CheckContext, Response
from schemathesis.specs.openapi.checks import negative_data_rejection

from tests.support.recordings import blip

with tempfile.TemporaryDirectory() as folder:
    RECORDING = blip(Path(folder)).read_bytes()

# Most of what is sent as a recording is one: else few forms came further than the probe.
schemathesis.openapi.format(
    "binary", st.sampled_from([RECORDING] * 3 + [RECORDING[:100], b""]) | st.binary(max_size=1000)
)
# Nothing is sent to an address that somebody may have.
schemathesis.openapi.format(
    "uri",
    st.sampled_from(
        ["http://127.0.0.1:9/", "https://[::1]:9/x", "https://hook.invalid/a?b=c", "ftp://x.invalid", "x:"]
    ),
)


@schemathesis.check
def what_is_not_described_is_refused(ctx: CheckContext, response: Response, case: Case) -> bool | None:
    """`negative_data_rejection`, but for forms with empty values: those mean absent fields, which no schema can say."""
    values = case.body.values() if isinstance(case.body, dict) else ()
    if any(not str(value).strip() for value in values):
        return None
    return negative_data_rejection(ctx, response, case)
