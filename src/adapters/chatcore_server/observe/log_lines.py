"""Log formats: lines on standard error, in text or JSON, with times in UTC."""

import io
import json
import logging
import sys
import time
from datetime import UTC, datetime

from chatcore_server.observe.standard_streams import NonBlockingStream

logger = logging.getLogger("chatcore")


def configure_logging(form: str = "text") -> None:
    """Send log records to standard error as "text" or "json", unless the process has configured
    logging already."""
    stream = sys.stderr
    # Another ASGI server leaves the stream blocking; `serve` has replaced it already.
    handler = logging.StreamHandler(
        NonBlockingStream(stream) if isinstance(stream, io.TextIOWrapper) else stream
    )
    handler.setFormatter(JsonLines() if form == "json" else _text_lines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logger.setLevel(logging.INFO)


class JsonLines(logging.Formatter):
    """Formats each record as a JSON object on one line of ASCII.

    Keys: `time` (RFC 3339, UTC), `level`, `logger`, `message`, the fields of the record's
    `request` if it has any, and the `traceback` of an exception.
    """

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
        line = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "request", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _text_lines() -> logging.Formatter:
    line = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s")
    line.converter, line.datefmt = time.gmtime, "%Y-%m-%dT%H:%M:%S"
    return line
