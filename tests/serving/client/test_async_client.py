"""What only the asynchronous client can: many questions at once, and giving one up."""

from __future__ import annotations

import asyncio
import inspect

import numpy as np
import pytest

from tf_mlm.serving.client.async_client import AsyncClient
from tf_mlm.serving.client.client import Client
from tf_mlm.serving.client.error import ClientError
from tf_mlm.serving.errors import Code


@pytest.fixture(params=["grpc", "http"])
def target(request, served) -> str:
    port = served.server.grpc_port if request.param == "grpc" else served.server.rest_port
    return f"{request.param}://127.0.0.1:{port}"


def test_it_has_the_methods_of_the_blocking_one() -> None:
    public = {
        name: inspect.signature(method).parameters
        for name, method in inspect.getmembers(Client, inspect.isfunction)
        if not name.startswith("__") or name == "__init__"
    }
    for name, parameters in public.items():
        assert inspect.signature(getattr(AsyncClient, name)).parameters == parameters, name


def test_questions_are_asked_at_the_same_time(target: str) -> None:
    async def ask() -> list[dict[str, np.ndarray]]:
        async with AsyncClient(f"{target}/half_plus_two") as client:
            return await asyncio.gather(*(client.predict({"x": [float(x)]}) for x in range(50)))

    assert [found["y"].tolist() for found in asyncio.run(ask())] == [[x / 2 + 2] for x in range(50)]


def test_a_question_can_be_given_up(target: str) -> None:
    async def ask() -> None:
        async with AsyncClient(f"{target}/shapes") as client:
            await client.metadata()
            slow = asyncio.create_task(client.predict({"rounds": np.int32([2_000_000_000])}, "slow"))
            quick = await client.predict({"x": np.float32([4])}, "refuse_negative")
            assert quick["root"].tolist() == [2.0]
            slow.cancel()
            with pytest.raises(asyncio.CancelledError):
                await slow
            # The connections are as good as before.
            again = await client.predict({"x": np.float32([9])}, "refuse_negative")
            assert again["root"].tolist() == [3.0]

    asyncio.run(ask())


def test_an_error_of_one_is_not_that_of_others(target: str) -> None:
    async def ask() -> list[object]:
        async with AsyncClient(f"{target}/shapes") as client:
            inputs = ({"x": np.float32([4])}, {"x": np.float32([-4])}, {"x": np.float32([9])})
            questions = (client.predict(each, "refuse_negative") for each in inputs)
            return await asyncio.gather(*questions, return_exceptions=True)

    first, second, third = asyncio.run(ask())
    assert (first["root"], third["root"]) == (2.0, 3.0)  # type: ignore[index]
    assert isinstance(second, ClientError)
    assert second.code is Code.INVALID_ARGUMENT
