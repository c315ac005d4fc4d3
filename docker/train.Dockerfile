# Train, score and submit, on processors or GPUs. Build it in the root of the checkout:
#   docker build -f docker/train.Dockerfile -t medalist-train .
#   docker run --rm --gpus all --shm-size 8g -v "$PWD/data:/data:ro" -v "$PWD/runs:/work/runs" \
#     medalist-train train configs/dsb2018.yaml
# The folder of runs must be writable by user 10001. torch's wheels bring CUDA; the host brings the driver.
FROM python:3.11.14-slim-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++=4:12.2.0-3 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
RUN python -m venv /opt/medalist
ENV PATH=/opt/medalist/bin:$PATH
COPY . .
RUN pip install --no-cache-dir -c constraints.txt cmake nanobind ninja scikit-build-core \
    && pip install --no-cache-dir --no-build-isolation -c constraints.txt ".[kaggle,lightgbm]"

FROM python:3.11.14-slim-bookworm
COPY --from=build /opt/medalist /opt/medalist
ENV PATH=/opt/medalist/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MEDALIST_DATA=/data \
    MEDALIST_RUNS=/work/runs
RUN useradd --uid 10001 --user-group --create-home --shell /usr/sbin/nologin medalist \
    && install --directory --owner=10001 --group=10001 /work /work/runs
WORKDIR /work
USER 10001:10001
HEALTHCHECK --interval=5m --timeout=2m --start-period=2m --retries=2 CMD ["medalist", "version"]
ENTRYPOINT ["medalist"]
CMD ["--help"]
