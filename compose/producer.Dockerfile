# Publishes cameras. No torch and no model: the pins of requirements.lock, only the packages that this role uses.
FROM python:3.12-slim

WORKDIR /app
COPY requirements.bootstrap requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.bootstrap \
 && uv pip install --system --no-cache --constraint requirements.lock \
      aiokafka av msgpack numpy pillow prometheus-client pydantic-settings redis rich simplejpeg stamina \
      structlog typer uvloop zstandard

COPY schemas schemas
COPY imaging imaging
COPY runtime runtime
COPY producers producers
COPY saccade saccade

RUN useradd --create-home saccade && mkdir -p /state && chown saccade /state
USER saccade
ENV PYTHONUNBUFFERED=1 SACCADE__PRODUCER__STATE_DIR=/state
ENTRYPOINT ["python", "-m", "saccade"]
CMD ["produce", "--help"]
