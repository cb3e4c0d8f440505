"""What Prometheus reads."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from producer_api.problems import declare
from producer_api.service import TheService

router = APIRouter(tags=["health"])

FORMATS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            media_type: {"schema": {"type": "string"}} for media_type in ("text/plain", "application/openmetrics-text")
        }
    }
}


@router.get("/metrics", response_class=Response, responses=declare() | FORMATS)
async def metrics(request: Request, service: TheService) -> Response:
    """What the API counts and measures, in Prometheus' text format or, where Accept asks for it, in OpenMetrics."""
    body, media_type = service.metrics.exposition(request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": media_type})
