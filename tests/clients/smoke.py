"""Smoke tests of what speaks OpenAI's protocol through libraries of others: LangChain, LlamaIndex, LiteLLM, Vercel's AI SDK."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, Field

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from conftest import ROOT, running

QUESTION, WARM = "What is gravity?", "How warm is it in Paris? As JSON."


class Weather(BaseModel):
    """The weather of a city."""

    city: str = Field(max_length=30)
    unit: Literal["celsius", "fahrenheit"]


@pytest.fixture(scope="session")
def server():
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as server:
        yield server


def test_langchain(server):
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(base_url=f"{server.url}/v1", api_key="unused", model=server.model, temperature=0, max_tokens=100, max_retries=0)
    pieces = [piece.text for piece in model.stream(QUESTION)]
    assert len(pieces) > 5 and "gravity" in "".join(pieces).lower()
    for method in ("json_schema", "function_calling"):
        assert isinstance(model.with_structured_output(Weather, method=method).invoke(WARM), Weather)


def test_llama_index(server):
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike

    model = OpenAILike(
        api_base=f"{server.url}/v1", api_key="unused", model=server.model, temperature=0, max_tokens=100, max_retries=0,
        is_chat_model=True, is_function_calling_model=True,
    )
    pieces = [piece.delta or "" for piece in model.stream_chat([ChatMessage(role="user", content=QUESTION)])]
    assert len(pieces) > 5 and "gravity" in "".join(pieces).lower()
    assert isinstance(model.as_structured_llm(Weather).complete(WARM).raw, Weather)


def test_litellm(server):
    import litellm

    common = {
        "model": f"openai/{server.model}", "api_base": f"{server.url}/v1", "api_key": "unused", "temperature": 0,
        "max_tokens": 100, "num_retries": 0,
    }
    stream = litellm.completion(**common, messages=[{"role": "user", "content": QUESTION}], stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert len(pieces) > 5 and "gravity" in "".join(pieces).lower()
    answer = litellm.completion(**common, messages=[{"role": "user", "content": WARM}], response_format=Weather)
    Weather.model_validate_json(answer.choices[0].message.content)
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(**{**common, "temperature": 9}, messages=[{"role": "user", "content": QUESTION}])


def test_vercel(server):
    ran = subprocess.run(
        ["node", "--test"], cwd=ROOT / "tests" / "clients" / "vercel", text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=os.environ | {"AIM_URL": server.url, "AIM_MODEL": server.model, "AI_SDK_LOG_WARNINGS": "false"}, timeout=300, check=False,
    )
    assert ran.returncode == 0, ran.stdout
