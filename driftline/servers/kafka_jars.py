"""The jars of Apache Kafka, fetched once by Maven into the user's cache.

Two processes may ask at once: a file lock lets one fetch, and the folder appears under its final name
only when it is complete.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from detectors.errors import UnavailableError

KAFKA_VERSION = "4.3.1"
_TIMEOUT_SECONDS = 900
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>io.driftline</groupId>
  <artifactId>embedded-kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""


def cache_directory() -> Path:
    """Return where jars are kept: DRIFTLINE_CACHE, else the user's cache directory."""
    if chosen := os.environ.get("DRIFTLINE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "driftline"


def kafka_jars() -> Path:
    """Return the folder with the broker's jars; the first call on a machine runs Maven (44 MB).

    Raises:
        UnavailableError: Maven is missing or could not fetch them.
    """
    home = cache_directory() / "kafka" / KAFKA_VERSION
    jars = home / "libs"
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise UnavailableError("a real Kafka needs Maven once, to fetch its jars: no mvn on PATH; install Maven")
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.is_dir():
            with tempfile.TemporaryDirectory(dir=home, prefix="fetching-") as draft:
                _fetch(maven, Path(draft))
                (Path(draft) / "libs").rename(jars)
    return jars


def _fetch(maven: str, folder: Path) -> None:
    """Let Maven copy the jars to `folder`/libs."""
    (folder / "pom.xml").write_text(_POM, encoding="utf-8")
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder / 'libs'}"]
    command = [maven, "-B", "-ntp", "-q", "-f", str(folder / "pom.xml"), *goal]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)  # noqa: S603 - fixed arguments
    except subprocess.TimeoutExpired:
        raise UnavailableError(
            f"Maven did not fetch Kafka {KAFKA_VERSION} within {_TIMEOUT_SECONDS} s: is the network there?"
        ) from None
    if done.returncode:
        raise UnavailableError(f"Maven could not fetch Kafka {KAFKA_VERSION}:\n{(done.stdout + done.stderr)[-2000:]}")


if __name__ == "__main__":
    sys.stdout.write(f"{kafka_jars()}\n")
