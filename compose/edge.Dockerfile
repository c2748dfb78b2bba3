# Answers every frame with the small model and offloads the uncertain ones. The first stage exports the model with
# torch; the image itself runs it with OpenVINO (ONNX Runtime on processors that OpenVINO has no wheel for).
FROM python:3.12-slim AS export

WORKDIR /app
COPY requirements.bootstrap requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.bootstrap \
 && uv pip install --system --no-cache --require-hashes -r requirements.lock
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

FROM python:3.12-slim

WORKDIR /app
COPY requirements.bootstrap requirements.lock pyproject.toml ./
RUN pip install --no-cache-dir --require-hashes -r requirements.bootstrap \
 && uv pip install --system --no-cache --constraint requirements.lock -r pyproject.toml --extra edge

COPY schemas schemas
COPY imaging imaging
COPY runtime runtime
COPY vit vit
COPY gating gating
COPY uplink uplink
COPY edge_workers edge_workers
COPY saccade saccade
COPY --from=export /model /model

RUN useradd --create-home saccade
USER saccade
ENV PYTHONUNBUFFERED=1 SACCADE__EDGE__MODEL=/model
ENTRYPOINT ["python", "-m", "saccade"]
CMD ["edge"]
