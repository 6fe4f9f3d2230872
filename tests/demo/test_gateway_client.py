"""The demonstration's gateway retries when it is told to, as docs/gateway-guide.md asks of every gateway."""

from __future__ import annotations

import httpx
import pytest

from ddr.demo import gateway_client
from ddr.demo.gateway_client import PATIENCE_SECONDS, GatewayClient, GatewayRefused


async def sent(answers: list[httpx.Response], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Registers a device at a recorder that answers so; for how long it was waited each time."""
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(gateway_client, "sleep", wait)
    transport = httpx.MockTransport(lambda request: answers.pop(0) if len(answers) > 1 else answers[0])
    async with httpx.AsyncClient(transport=transport) as http:
        try:
            await GatewayClient(http, "https://recorder", "token").register("meter", {}, {})
        finally:
            assert sum(waits) <= PATIENCE_SECONDS
    return waits


def refused(status: int, retry_after: str | None = "3") -> httpx.Response:
    return httpx.Response(status, headers={} if retry_after is None else {"retry-after": retry_after}, text="busy")


async def test_a_recorder_that_is_busy_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before: one 503, as when backends poll while a demonstration is started again, ended it."""
    answers = [refused(503), refused(429, "0"), httpx.Response(200, json={})]
    assert await sent(answers, monkeypatch) == [3, 1]


@pytest.mark.parametrize(
    "answer", [refused(503), refused(503, "3600"), refused(503, None), refused(503, "soon"), refused(422), refused(500)]
)
async def test_what_does_not_pass_is_told(answer: httpx.Response, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GatewayRefused, match=f"^PUT /devices/meter: {answer.status_code} busy$"):
        await sent([answer], monkeypatch)
