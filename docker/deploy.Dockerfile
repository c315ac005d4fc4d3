# Answer with exported networks, by onnxruntime and without torch. Build it in the root of the checkout:
#   docker build -f docker/deploy.Dockerfile -t medalist-deploy .
#   docker run --rm --read-only -v "$PWD/exported:/model:ro" medalist-deploy
# It opens the folder that `medalist export` wrote and says what is in it. A service of your own is an image FROM this
# one with another CMD; it uses `from medalist.deploy import Deployed`.
FROM python:3.11.14-slim-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++=4:12.2.0-3 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
RUN python -m venv /opt/tools \
    && /opt/tools/bin/pip install --no-cache-dir -c constraints.txt cmake nanobind ninja scikit-build-core \
    && /opt/tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation -w /wheels .
# Only what the answers need: medalist's own list of dependencies would bring torch.
RUN python -m venv /opt/medalist \
    && /opt/medalist/bin/pip install --no-cache-dir -c constraints.txt \
        numpy omegaconf onnxruntime==1.32.0 opencv-python-headless pydantic pyyaml scikit-image scipy \
    && /opt/medalist/bin/pip install --no-cache-dir --no-deps /wheels/medalist-*.whl

FROM python:3.11.14-slim-bookworm
COPY --from=build /opt/medalist /opt/medalist
ENV PATH=/opt/medalist/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin medalist
WORKDIR /model
USER 10001:10001
HEALTHCHECK --interval=1m --timeout=30s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from medalist.deploy import Deployed; Deployed.open('/model')"]
ENTRYPOINT ["python"]
CMD ["-c", "from medalist.deploy import Deployed; print(Deployed.open('/model'))"]
