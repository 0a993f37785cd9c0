# The environment of the lock, for nodes with NVIDIA GPUs (their driver is the host's) and for those without.
#
#   docker build -t ssimbad .
#   docker run --gpus all --user $(id -u):$(id -g) -v $PWD:/work -v /where/the/faces/are:/faces:ro \
#       ssimbad snakemake --cores all --configfile mine.yaml
#
# docs/gpu.md has the line for Apptainer.
FROM python:3.11-slim-bookworm

RUN apt-get update \
    && apt-get install -y --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*

# PyTorch's wheels bring CUDA with them.
WORKDIR /work
COPY requirements.lock ./
RUN pip install --no-cache-dir -r requirements.lock
# The project itself, over which a checkout may be mounted: the package is used from where it lies.
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e .

# Whoever runs it may write there; fetched weights stay with the checkout.
ENV HOME=/tmp SSIMBAD_CACHE=/work/.cache
CMD ["snakemake", "--cores", "all"]
