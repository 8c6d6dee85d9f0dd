"""Load by wrk, which costs less than a client in Python, and so leaves more to the server.

For cells that write nothing: when its time ends wrk abandons the requests under way, and what
was acknowledged could not be held against what was stored.
"""

import json
import math
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.load import Job, Outcome

REPORT = """
done = function(summary, latency)
  io.write(string.format(
    'JSON {"requests":%d,"failed":%d,"seconds":%f,"p50_ms":%f,"p99_ms":%f}\\n',
    summary.requests,
    summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


def usable(job: Job) -> bool:
    """Whether wrk is here, and the job is one request over and over that changes nothing."""
    return job.method == "GET" and len(job.tokens) == 1 and shutil.which("wrk") is not None


def run(job: Job) -> Outcome:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(REPORT)
        script.flush()
        output = subprocess.run(
            [
                *("wrk", "--threads", "1", "--connections", str(job.clients)),
                *("--duration", f"{math.ceil(job.seconds)}s", "--script", script.name),
                # On a busy machine an answer may take its time, and is one all the same.
                *("--timeout", "60s"),
                *("--header", f"Authorization: Bearer {job.tokens[0]}"),
                f"http://127.0.0.1:{job.port}{job.path}",
            ],
            cwd=Path(script.name).parent,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    line = next(line for line in output.splitlines() if line.startswith("JSON "))
    told = json.loads(line.removeprefix("JSON "))
    ok = told["requests"] - told["failed"]
    return Outcome(
        requests=told["requests"],
        ok=ok,
        statuses={"2xx": ok, "other": told["failed"]},
        seconds=told["seconds"],
        p50_ms=told["p50_ms"],
        p99_ms=told["p99_ms"],
    )
