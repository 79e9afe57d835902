# The image of cluster.yaml and deploy/rayjob.yaml. Its tag says the exact Ray and Python of constraints.txt:
#   docker build --tag registry.example.com/visiontune:0.1.0-ray2.60.0-py3.11.7 .
# CUDA comes with torch's wheels; the machine brings the driver.
ARG PYTHON=3.11.7
FROM python:${PYTHON}-slim-bookworm

RUN apt-get update -q \
    && apt-get install -q -y --no-install-recommends gcc libc6-dev libvlfeat-dev openssh-client procps rsync \
    && rm -rf /var/lib/apt/lists/*

# cyvlfeat is compiled against VLFeat and numpy, so they come first.
COPY constraints.txt /tmp/constraints.txt
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt "setuptools<81" wheel cython numpy scipy \
    && pip install --no-cache-dir --constraint /tmp/constraints.txt --no-build-isolation cyvlfeat

# Number 1000, as the user of the machines outside: they hand each other the token file.
RUN useradd --create-home --uid 1000 --shell /bin/bash ray \
    && install -d -o ray -g ray -m 700 /home/ray/.ray \
    && install -d -o ray -g ray /home/ray/visiontune
COPY --chown=ray:ray . /home/ray/visiontune
WORKDIR /home/ray/visiontune
RUN pip install --no-cache-dir --constraint constraints.txt --no-build-isolation --editable ".[cluster]" \
    && python -c "from pathlib import Path; from search.doctor.machine import check_machine; from search.doctor.versions import Pins; \
       bad = [c for c in check_machine(Path('/tmp'), Pins.read()) if not c.ok and c.name in ('python', 'packages', 'vlfeat')]; assert not bad, bad"

# What NVIDIA's container runtime looks for: without it a container has no GPU, whatever Ray counts.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

USER ray
ENV RAY_USAGE_STATS_ENABLED=0
