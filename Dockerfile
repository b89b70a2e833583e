# Built in the registry by `azd deploy` (azure.yaml: remoteBuild), locally by `docker build -t chat-api .`
FROM python:3.13-slim AS build
WORKDIR /app
COPY requirements.txt ./
# A virtual environment without pip, from wheels alone; what is not in requirements.txt, hash for hash, cannot get in.
# The root is read-only at run time, so bytecode is made here; unchecked, so that no start compares it with its source.
RUN python -m venv --without-pip /venv \
    && python -m pip --python /venv install --no-cache-dir --disable-pip-version-check \
        --no-compile --only-binary :all: --require-hashes -r requirements.txt \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /venv/lib
COPY main.py ./
COPY gateway gateway
RUN python -m compileall -q --invalidation-mode unchecked-hash /app

FROM python:3.13-slim
LABEL org.opencontainers.image.title="chat-api" \
      org.opencontainers.image.description="A streaming chat API in front of Azure AI agents" \
      org.opencontainers.image.licenses="MIT"
ENV PATH=/venv/bin:$PATH \
    PORT=8000
WORKDIR /app
COPY --from=build /venv /venv
COPY --from=build /app /app
USER 10001:10001
EXPOSE 8000
# For `docker run`; Container Apps asks by the probes of infra/chat-api.bicep.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health', timeout=4)"]
# The service is process 1: SIGTERM reaches it, and it drains for DRAIN_S (gateway/server.py).
CMD ["python", "-m", "gateway", "--host", "0.0.0.0"]
