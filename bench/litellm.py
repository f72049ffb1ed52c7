"""LiteLLM's proxy between the same client and the same API: what another program costs that records what is spent.

It is installed into an environment of its own in the user's cache, once. Where that does not work within its time, or it
does not start, the figure says so.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

REQUIREMENT: Final = "litellm[proxy]==1.106.2"
INSTALL_S: Final = 600
START_S: Final = 180
MODEL: Final = "claude-opus-5-5"


class NotMeasured(Exception):
    """It could not be installed or started; the text says why."""


def install_litellm() -> Path:
    """Its program. Raises `NotMeasured`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meshd-bench"
    folder = cache / REQUIREMENT.replace("[proxy]==", "-")
    program = folder / "bin" / "litellm"
    if (folder / "installed").exists():
        return program
    shutil.rmtree(folder, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    try:
        for argv in ([sys.executable, "-m", "venv", str(folder)], [*pip, "install", REQUIREMENT]):
            subprocess.run(argv, check=True, timeout=INSTALL_S, stdin=subprocess.DEVNULL, capture_output=True)
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"{REQUIREMENT} was not installed within {INSTALL_S} s") from None
    except (OSError, subprocess.CalledProcessError):
        raise NotMeasured(f"{REQUIREMENT} does not install here") from None
    (folder / "installed").touch()
    return program


@contextmanager
def open_litellm(api: int, folder: Path) -> Iterator[int]:
    """It runs before the API at that port while the block does; its own port. Raises `NotMeasured`."""
    program = install_litellm()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "litellm.yaml"
    config.write_text(
        f"model_list:\n  - model_name: {MODEL}\n    litellm_params: {{model: anthropic/{MODEL},"
        f' api_base: "http://127.0.0.1:{api}", api_key: sk-bench}}\nlitellm_settings: {{telemetry: false}}\n'
    )
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = int(found.getsockname()[1])
    environ = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(folder),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # it would fetch the list otherwise
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # on loopback, for a fake API
    }
    argv = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "litellm.log").open("wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ, cwd=folder)
    try:
        _wait_ready(process, port)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_ready(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise NotMeasured("it did not start")
