# Serves the live page of a site and sends its events. Put a proxy with HTTPS in front of it.
FROM python:3.12-slim

WORKDIR /app
COPY requirements.bootstrap requirements.lock pyproject.toml ./
RUN pip install --no-cache-dir --require-hashes -r requirements.bootstrap \
 && uv pip install --system --no-cache --compile-bytecode --require-hashes --constraint requirements.lock \
      -r pyproject.toml --extra page

COPY schemas schemas
COPY imaging imaging
COPY runtime runtime
COPY page page
COPY saccade saccade

RUN useradd --uid 1000 --create-home saccade && mkdir -p /harvest && chown saccade /harvest
USER 1000:1000
ENV PYTHONUNBUFFERED=1 SACCADE__PAGE__PORT=8800
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --retries=3 --start-period=30s \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['SACCADE__PAGE__PORT'] + '/login', timeout=3)"]
ENTRYPOINT ["python", "-m", "saccade"]
CMD ["page"]
