"""What the service lets its operators see: logs, traces, figures. docs/observability.md tells how to read them.

Codes, ids, counts and milliseconds are noted: never a message, a delta or a token. OpenTelemetry's SDK is imported by
`otel.py`, `exporters.py`, `console.py` and `gaps_metric.py` alone, and those only when telemetry goes somewhere, after
the service listens.
"""

from gateway.telemetry.logs import configure_logs as configure_logs
from gateway.telemetry.logs import place_of as place_of
from gateway.telemetry.logs import request_id as request_id
