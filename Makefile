# Everything a person types. Each target sets up what it needs; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo serve phoenix test check bench bench-serving bench-changes bench-overload bench-request bench-batch bench-guarantee bench-quality bench-training bench-network bench-threads bench-explain bench-alarms bench-monitoring clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: $(STAMP) ## make the virtual environment

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Homeostat needs Python 3.11 to 3.13; '$(PYTHON)' was not found. Install it (Debian: apt-get install python3.11 python3.11-venv), or name another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "Homeostat needs Python 3.11 to 3.13; '$(PYTHON)' is $$($(PYTHON) --version). Name another: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "'$(PYTHON)' has no venv module. Install it (Debian: apt-get install python3.11-venv)"; exit 1; }
	@command -v gcc >/dev/null || { echo "gcc was not found; a few packages compile a small part. Install it (Debian: apt-get install gcc python3-dev)"; exit 1; }
	@echo "Setting up $(VENV) (about 3 GB, some minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## the whole loop on real flights, about 18 minutes on two cores; KEEP=1 leaves the service up
	@$(BIN)/homeostat demo $(if $(KEEP),--keep) $(if $(QUICK),--quick)

serve: $(STAMP) ## train the flights model if there is none, and serve it
	@$(BIN)/homeostat status configs/flights.yaml --quiet || $(BIN)/homeostat train configs/flights.yaml
	@$(BIN)/homeostat serve configs/flights.yaml

phoenix: $(STAMP) ## a Phoenix server that shows spans of requests, retrains and verdicts, until Ctrl-C
	@mkdir -p var/phoenix
	@echo "Phoenix keeps its data in var/phoenix and will answer at http://127.0.0.1:6006; Ctrl-C ends it."
	@echo "Its gRPC port 4317 listens on all interfaces, for which it has no option: docs/how-to/tracing.md says how to close it."
	@echo "To send it spans, add this line to a model's YAML and serve the model:"
	@echo "  tracing: {endpoint: 'http://127.0.0.1:6006'}"
	@PYTHONWARNINGS=ignore PHOENIX_WORKING_DIR=$(CURDIR)/var/phoenix PHOENIX_HOST=127.0.0.1 PHOENIX_LOG_MIGRATIONS=false PHOENIX_ALLOW_EXTERNAL_RESOURCES=false \
	  PHOENIX_DISABLE_AGENT_ASSISTANT=true PHOENIX_ENABLE_MCP_SERVER=false PHOENIX_ALLOWED_SANDBOX_PROVIDERS=NONE $(BIN)/phoenix serve

test: $(STAMP) ## all tests: unit, integration, e2e, conformance
	@.ci/packages
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest tests/unit tests/test_architecture.py -q -n 2 --dist loadfile
	@$(BIN)/python -m pytest tests/integration tests/e2e tests/conformance -q

check: $(STAMP) ## lint, types, order of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest --doctest-modules -q cluster/schema.py cluster/encoder.py cluster/packed.py cluster/margin.py cluster/explaining serve_apps/placement.py serve_apps/pacing.py serve_apps/autoscaling.py serve_apps/load.py monitoring training --ignore=training/demo -p no:cacheprovider

bench: bench-serving bench-changes bench-overload bench-request bench-guarantee bench-explain bench-monitoring bench-alarms bench-quality bench-batch bench-training bench-threads ## all benchmarks; QUICK=1 for short ones

bench-serving: $(STAMP) ## requests a second and latency, beside peers and the limit
	@$(BIN)/python -m benchmarks.serving $(if $(QUICK),--quick)

bench-changes: $(STAMP) ## swaps, updates, scaling and kills under load: what fails, and for how long
	@$(BIN)/python -m benchmarks.changes $(if $(QUICK),--quick)

bench-overload: $(STAMP) ## three times what the ensemble can do: what is answered in time, beside @serve.batch
	@$(BIN)/python -m benchmarks.overload $(if $(QUICK),--quick)

bench-request: $(STAMP) ## where the time of one request goes
	@$(BIN)/python -m benchmarks.request $(if $(QUICK),--quick)

bench-guarantee: $(STAMP) ## how often the cascade's promise is broken, and how soon the audit says so
	@$(BIN)/python -m benchmarks.guarantee $(if $(QUICK),--quick)

bench-explain: $(STAMP) ## rows explained a second, beside the lime and shap packages
	@$(BIN)/python -m benchmarks.explain $(if $(QUICK),--quick)

bench-alarms: $(STAMP) ## false alarms and how soon changes are found, beside peers, on real streams drawn by lot
	@$(BIN)/python -m benchmarks.alarms $(if $(QUICK),--quick) $(if $(STREAMS),--streams $(STREAMS))

bench-monitoring: $(STAMP) ## rows a second and core of the monitoring path, beside Evidently; serving with the monitor on and off
	@$(BIN)/python -m benchmarks.monitoring $(if $(QUICK),--quick)

bench-quality: $(STAMP) ## how good the models are, beside tuned peers, on five data sets; about 45 minutes
	@$(BIN)/python -m benchmarks.quality $(if $(QUICK),--quick)

bench-network: $(STAMP) ## how the network's defaults were chosen, on tables that no other benchmark uses
	@$(BIN)/python -m benchmarks.network $(if $(QUICK),--quick)

bench-threads: $(STAMP) ## how threads should wait: fits on an idle machine and on a busy one
	@$(BIN)/python -m benchmarks.threads $(if $(QUICK),--quick)

bench-batch: $(STAMP) ## rows a second of homeostat predict, beside what one core can do
	@$(BIN)/python -m benchmarks.batch $(if $(QUICK),--quick)

bench-training: $(STAMP) ## seconds and memory of a fit, in one process, on workers and as a stream, beside plain XGBoost
	@$(BIN)/python -m benchmarks.training $(if $(QUICK),--quick)

clean: ## remove what was generated, the virtual environment included
	rm -rf var .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
