"""What callers speak. To add a protocol: an encoder beside `native.py`, and its path in `gateway/web/routes.py`."""
