# Driftline's worker, retrainer and serve: one image, the command chooses. Nothing secret is in it.
FROM python:3.11.15-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/driftline
WORKDIR /src
COPY pyproject.toml README.md LICENSE requirements-dev.lock ./
COPY detectors detectors
COPY streams streams
COPY serving serving
COPY retrainer retrainer
COPY dashboards dashboards
COPY driftline driftline
COPY examples/electricity examples/electricity
# The tested versions of everything, without what only development needs.
RUN /opt/driftline/bin/pip install --constraint requirements-dev.lock .

FROM python:3.11.15-slim
# A number, not a name: Kubernetes can then see that it is not root.
RUN groupadd --gid 10001 driftline && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin driftline
COPY --from=build /opt/driftline /opt/driftline
ENV PATH=/opt/driftline/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["driftline"]
CMD ["--help"]
