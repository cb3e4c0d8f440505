"""Whether a run may have the webhook it asks for."""

from producer_api.webhooks.guard import Guard
from producer_api.webhooks.signing import Signer
from schemas.errors import SettingsInvalid, WebhookRefused, WebhooksDisabled
from turnstream.settings import Settings


def webhook_of(given: str | None, settings: Settings) -> str | None:
    """Where the end of a run is told: as given, or as set for all; None: nowhere. Raises WebhooksDisabled, WebhookRefused."""
    url = given or settings.webhook_url or None
    if url is not None:
        require_webhooks(settings)
        Guard.of(settings).check(url)
    return url


def require_webhooks(settings: Settings) -> None:
    """Raises WebhooksDisabled where nothing could be signed."""
    if not settings.webhook_secrets:
        raise WebhooksDisabled


def require_usable(settings: Settings) -> None:
    """Raises SettingsInvalid where webhooks are set up so that none, or not the one for all, could be sent."""
    Signer(settings.webhook_secrets)
    try:
        webhook_of(None, settings)
    except WebhooksDisabled:
        raise SettingsInvalid("WEBHOOK_URL wants WEBHOOK_SECRET: whsec_ and 24 to 64 random bytes in base64") from None
    except WebhookRefused as error:
        raise SettingsInvalid(f"WEBHOOK_URL: {error.detail}") from None
