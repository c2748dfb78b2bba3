# Publishes cameras, rendered ones too. No torch and no model.
FROM python:3.12-slim

WORKDIR /app
COPY requirements.bootstrap requirements.lock pyproject.toml README.md LICENSE ./
RUN pip install --no-cache-dir --require-hashes -r requirements.bootstrap \
 && uv pip install --system --no-cache --compile-bytecode --require-hashes --constraint requirements.lock \
      -r pyproject.toml --extra producer

COPY schemas schemas
COPY imaging imaging
COPY runtime runtime
COPY producers producers
COPY saccade saccade
COPY lab/__init__.py lab/
COPY lab/scenes lab/scenes
# The plug-in `scenes` is found by the package's entry points.
RUN uv pip install --system --no-cache --no-deps --build-constraint requirements.lock --editable .

RUN useradd --uid 1000 --create-home saccade && mkdir -p /state && chown saccade /state
USER 1000:1000
ENV PYTHONUNBUFFERED=1 SACCADE__PRODUCER__STATE_DIR=/state SACCADE__METRICS__PORT=9100
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --retries=3 --start-period=30s \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['SACCADE__METRICS__PORT'] + '/healthz', timeout=3)"]
ENTRYPOINT ["python", "-m", "saccade"]
CMD ["produce", "--help"]
