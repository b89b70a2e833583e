"""What callers speak. To add a protocol: a file beside `native.py`, a line here, and its route in `web/routes.py`."""

from typing import Any

from gateway.protocols.base import ChatProtocol
from gateway.protocols.native import NativeProtocol
from gateway.protocols.simple import SimpleProtocol

NATIVE = NativeProtocol()
SIMPLE = SimpleProtocol()

PROTOCOLS: tuple[ChatProtocol[Any], ...] = (NATIVE, SIMPLE)
