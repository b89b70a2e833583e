"""The log: one line for each thing that happened, on stderr, as JSON or for people.

A record may have `event` (what sort of line it is; "log" by default) and `fields` of its own. No string of a caller
can forge a line: JSON is ASCII without line ends, and text is escaped.
"""

import json
import logging
import time
import traceback
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the request that is being served; in each line of the log."""


class _AddRequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class _DropMessage(logging.Filter):
    """A filter of asyncio's message about an unhandled task exception, with its text, or a callback's arguments."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info:
            record.msg, record.args = "unhandled task exception", ()
        return True


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{record.msecs:03.0f}Z",
            "level": record.levelname,
            "event": getattr(record, "event", "log"),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": getattr(record, "request_id", "-"),
            **_read_fields(record),
        }
        if record.exc_info and record.exc_info[1]:
            line["exception"] = locate_error(record.exc_info[1])
        return json.dumps(line)


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage() + "".join(f" {name}={value}" for name, value in _read_fields(record).items())
        message = message.encode("unicode_escape").decode()
        if record.exc_info and record.exc_info[1]:
            message += f" ({locate_error(record.exc_info[1])})"
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        return f"{clock} {record.levelname:<7} {message} [{getattr(record, 'request_id', '-')}]"


def _read_fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = getattr(record, "fields", {})
    return fields


def configure_logs(level: str, format_: str) -> None:
    """Log ours at `level`, everything else at INFO or above: some libraries print bodies at DEBUG."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if format_ == "json" else TextFormatter())
    handler.addFilter(_AddRequestId())
    handler.set_name("chat-api")
    root = logging.getLogger()
    root.handlers = [h for h in root.handlers if h.get_name() != "chat-api"] + [handler]
    root.setLevel(max(logging.INFO, logging.getLevelNamesMapping()[level]))
    logging.getLogger("gateway").setLevel(level)
    logging.getLogger("uvicorn.access").disabled = True  # each turn has its own line
    for name in ("uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    for name in ("azure", "opentelemetry"):  # each failed export would be a line, or several
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("asyncio").filters = [_DropMessage()]


def locate_error(error: BaseException) -> str:
    """Return the exception's type and where it was raised. Not its message, which may hold a caller's text."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    steps = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__} at {steps}"
