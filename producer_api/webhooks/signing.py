"""The signature by which a receiver knows that a webhook is ours: Standard Webhooks, by its own library."""

import base64
import binascii
from collections.abc import Iterable
from datetime import datetime

from standardwebhooks import Webhook

from schemas.errors import SettingsInvalid

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64
"""Bytes of a secret."""


class Signer:
    """Signs with each of its secrets, so that a receiver may have any of them."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """Raises SettingsInvalid, which does not repeat the secret."""
        self._signers = [Webhook(_checked(secret)) for secret in secrets]

    def headers(self, id_: str, at: datetime, body: str) -> dict[str, str]:
        """`at` is the time of this try, in UTC."""
        return {
            "webhook-id": id_,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": " ".join(signer.sign(id_, at, body) for signer in self._signers),
        }


def _checked(secret: str) -> str:
    says = f"each secret in WEBHOOK_SECRET is {PREFIX} and {SHORTEST} to {LONGEST} random bytes in base64"
    encoded = secret.removeprefix(PREFIX)
    try:
        size = len(base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True))
    except binascii.Error:
        size = 0
    if not secret.startswith(PREFIX) or not SHORTEST <= size <= LONGEST:
        raise SettingsInvalid(says)
    return secret


def message_id(job_id: str, run: str) -> str:
    """The same for each try, and for the events on the topics but for dots, which a signature must not have here."""
    return f"{job_id}/{run}".replace(".", "%2E")
