"""The log: one line for each thing that happened, on stderr, as JSON or for people.

A record may bring `event` (what sort of line it is, "log" where nothing is said) and `fields` of its own. Nobody's
strings can forge a line: JSON is ASCII without line ends, and text is escaped.
"""

import json
import logging
import time
import traceback
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="-")


class _WithRequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class _WithoutWords(logging.Filter):
    """asyncio tells of a failure that nobody waited for with its words, and of a callback with its arguments."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info:
            record.msg, record.args = "a failure that nobody waited for", ()
        return True


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{record.msecs:03.0f}Z",
            "level": record.levelname,
            "event": getattr(record, "event", "log"),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": getattr(record, "request_id", "-"),
            **_fields(record),
        }
        if record.exc_info and record.exc_info[1]:
            line["exception"] = place_of(record.exc_info[1])
        return json.dumps(line)


class TextLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage() + "".join(f" {name}={value}" for name, value in _fields(record).items())
        message = message.encode("unicode_escape").decode()
        if record.exc_info and record.exc_info[1]:
            message += f" ({place_of(record.exc_info[1])})"
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        return f"{clock} {record.levelname:<7} {message} [{getattr(record, 'request_id', '-')}]"


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = getattr(record, "fields", {})
    return fields


def configure_logs(level: str, form: str) -> None:
    """Ours at `level`; everybody else's at INFO or above, because some print bodies at DEBUG."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    handler.addFilter(_WithRequestId())
    handler.set_name("chat-api")
    root = logging.getLogger()
    root.handlers = [h for h in root.handlers if h.get_name() != "chat-api"] + [handler]
    root.setLevel(max(logging.INFO, logging.getLevelNamesMapping()[level]))
    logging.getLogger("gateway").setLevel(level)
    logging.getLogger("uvicorn.access").disabled = True  # a turn has its own line
    for name in ("uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    for name in ("azure", "opentelemetry"):  # each failed export would be a line, or several
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("asyncio").filters = [_WithoutWords()]


def place_of(error: BaseException) -> str:
    """Its kind and where it was raised. Not its words, which may hold a caller's."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    steps = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__} at {steps}"
