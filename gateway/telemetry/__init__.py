"""What operators see of the service: logs, traces, metrics. docs/observability.md says how to read them.

Codes, ids, counts and milliseconds are recorded: never a message, a delta or a token. OpenTelemetry's SDK is imported
by `otel.py`, `exporters.py` and `console.py` alone, and those only if telemetry goes
somewhere, after the service listens.
"""

from gateway.telemetry.logs import configure_logs as configure_logs
from gateway.telemetry.logs import locate_error as locate_error
from gateway.telemetry.logs import request_id as request_id
