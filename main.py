"""The ASGI entry: `uvicorn main:app`. Nothing else."""

from gateway.app import create_app

app = create_app()
