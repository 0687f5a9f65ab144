# Kedge with the versions that are tested. On a GPU machine: docker run --gpus all …
# Written with the steps of docs/install.md; never built where Kedge is developed.
FROM python:3.11-slim

RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/kedge
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir -c constraints.txt '.[study,data,rewards]'
ENV HF_HOME=/cache/huggingface
VOLUME /cache
WORKDIR /work
ENTRYPOINT ["kedge"]
CMD ["--help"]
