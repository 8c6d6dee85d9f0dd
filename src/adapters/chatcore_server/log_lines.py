"""How the service logs: lines on standard error, in UTC."""

import logging
import time

logger = logging.getLogger("chatcore")


def configure_logging() -> None:
    """Send log records to standard error, unless the process has its own way already."""
    line = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s")
    line.converter, line.datefmt = time.gmtime, "%Y-%m-%dT%H:%M:%S"
    handler = logging.StreamHandler()
    handler.setFormatter(line)
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logger.setLevel(logging.INFO)
