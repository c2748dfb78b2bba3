# Answers every frame with the small model and offloads the uncertain ones.
#   BACKEND=openvino  no torch: a stage of its own exports MODEL, and the image holds the exported folder. On
#                     processors that OpenVINO has no wheel for, ONNX Runtime runs it.
#   BACKEND=torch     runs MODEL itself: `shipped`, a timm name, or a folder that is mounted.
ARG BACKEND=openvino

FROM python:3.12-slim AS uv
WORKDIR /app
COPY requirements.bootstrap requirements.lock pyproject.toml ./
RUN pip install --no-cache-dir --require-hashes -r requirements.bootstrap

FROM uv AS export
RUN uv pip install --system --no-cache --require-hashes -r requirements.lock
COPY schemas schemas
COPY imaging imaging
COPY runtime runtime
COPY vit vit
COPY gating gating
COPY uplink uplink
COPY producers producers
COPY edge_workers edge_workers
COPY lab lab
COPY saccade saccade
ARG MODEL=shipped
RUN python -m saccade export --model "$MODEL" --out /model

FROM uv AS openvino
RUN uv pip install --system --no-cache --compile-bytecode --require-hashes --constraint requirements.lock \
      -r pyproject.toml --extra edge
COPY --from=export /model /model
ENV SACCADE__EDGE__MODEL=/model

FROM uv AS torch
RUN uv pip install --system --no-cache --compile-bytecode --require-hashes --constraint requirements.lock \
      -r pyproject.toml --extra torch
ARG MODEL=shipped
ENV SACCADE__EDGE__MODEL=$MODEL HF_HOME=/tmp/huggingface

FROM $BACKEND
COPY schemas schemas
COPY imaging imaging
COPY runtime runtime
COPY vit vit
COPY gating gating
COPY uplink uplink
COPY edge_workers edge_workers
COPY saccade saccade

RUN useradd --uid 1000 --create-home saccade
USER 1000:1000
ENV PYTHONUNBUFFERED=1 SACCADE__METRICS__PORT=9100
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --retries=3 --start-period=120s \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['SACCADE__METRICS__PORT'] + '/healthz', timeout=3)"]
ENTRYPOINT ["python", "-m", "saccade"]
CMD ["edge"]
