"""Today's llama.cpp, through xllamacpp, in a process of its own because its asserts abort."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener


class EngineError(Exception):
    """llama.cpp refused the file or the request, or died."""


def greedy_log_probabilities(
    gguf_path: Path, prompt_ids: Sequence[int], count: int, *, lora_paths: Sequence[Path] = ()
) -> list[tuple[int, float]]:
    """The `count` most probable next tokens, one after the other, with their log-probabilities.

    Does not stop at an end-of-text token. The context must hold the prompt and `count` tokens.
    """
    result = _run("greedy", gguf_path, lora_paths, prompt=list(prompt_ids), count=count)
    return [(token, log_probability) for token, log_probability in result]


def complete_text(
    gguf_path: Path, prompt: str | Sequence[int], count: int, *, lora_paths: Sequence[Path] = ()
) -> str:
    """Up to `count` greedy tokens as text; bytes that are not UTF-8 come out as U+FFFD.

    A text as prompt goes through the file's tokenizer, token ids do not.
    """
    prompt = prompt if isinstance(prompt, str) else list(prompt)
    return str(_run("text", gguf_path, lora_paths, prompt=prompt, count=count))


def token_ids(gguf_path: Path, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of each text, special tokens in it included, as at the start of a prompt."""
    result = _run("tokens", gguf_path, (), texts=list(texts))
    return [list(tokens) for tokens in result]


def _run(task: str, gguf_path: Path, lora_paths: Sequence[Path], **request: Any) -> Any:
    request |= {"task": task, "model": str(gguf_path), "loras": [str(path) for path in lora_paths]}
    process = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )
    if process.returncode:
        tail = "\n".join(process.stderr.splitlines()[-15:])
        raise EngineError(f"llama.cpp ended with status {process.returncode} on {request}:\n{tail}")
    return json.loads(process.stdout.splitlines()[-1])


def _serve(request: dict[str, Any]) -> Any:
    import xllamacpp  # only here: the parent process stays clear of it

    params = xllamacpp.CommonParams()
    params.model.path = request["model"]
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in request["loras"]]
    # The most exact arithmetic there is: no half precision anywhere but in the file itself.
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.fit_params = params.warmup = False
    params.offline = True
    server = xllamacpp.Server(params)

    def complete(**options: Any) -> dict[str, Any]:
        response = server.handle_completions({"temperature": 0.0, **options})
        if "choices" not in response:
            raise EngineError(f"the request was refused: {response}")
        return dict(response["choices"][0])

    if request["task"] == "tokens":
        return [_tokens(server.listening_address, text) for text in request["texts"]]
    if request["task"] == "text":
        return complete(prompt=request["prompt"], n_predict=request["count"])["text"]

    # One request per token. Over a longer one the server drops the log-probabilities of tokens
    # that end inside a UTF-8 sequence, and stops at EOS. So each request takes the beginning of
    # text, which has no text; the log-probabilities are those before that bias.
    tokens, chosen = list(request["prompt"]), []
    for _ in range(request["count"]):
        choice = complete(prompt=tokens, n_predict=1, logprobs=1, logit_bias=[[1, 1e9]])
        best = choice["logprobs"]["content"][0]["top_logprobs"][0]
        tokens.append(best["id"])
        chosen.append((best["id"], best["logprob"]))
    return chosen


def _tokens(address: str, text: str) -> Any:
    """The answer of the server's own address, since its Python methods have no tokenizer."""
    body = json.dumps({"content": text, "add_special": True, "parse_special": True}).encode()
    request = Request(f"{address}/tokenize", body, {"Content-Type": "application/json"})
    with build_opener(ProxyHandler({})).open(request, timeout=60) as response:
        return json.load(response)["tokens"]


if __name__ == "__main__":
    print("\n" + json.dumps(_serve(json.load(sys.stdin))))
