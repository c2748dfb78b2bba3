# Answers every frame with the small model and offloads the uncertain ones.
FROM python:3.12-slim

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
COPY edge_workers edge_workers
COPY saccade saccade

RUN useradd --create-home saccade
USER saccade
ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["python", "-m", "saccade"]
CMD ["edge"]
