# Labels offloaded frames with the large model; on a GPU with the overlay compose.gpu.yaml.
FROM python:3.12-slim

WORKDIR /app
COPY requirements.bootstrap requirements.lock pyproject.toml ./
RUN pip install --no-cache-dir --require-hashes -r requirements.bootstrap \
 && uv pip install --system --no-cache --compile-bytecode --require-hashes --constraint requirements.lock \
      -r pyproject.toml --extra torch

COPY schemas schemas
COPY imaging imaging
COPY runtime runtime
COPY vit vit
COPY gating gating
COPY server_workers server_workers
COPY saccade saccade

RUN useradd --uid 1000 --create-home saccade
USER 1000:1000
# A model of timm is downloaded into HF_HOME; the root file system may be read-only.
ENV PYTHONUNBUFFERED=1 HF_HOME=/tmp/huggingface SACCADE__METRICS__PORT=9100
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --retries=3 --start-period=120s \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['SACCADE__METRICS__PORT'] + '/healthz', timeout=3)"]
ENTRYPOINT ["python", "-m", "saccade"]
CMD ["serve"]
