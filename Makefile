# Two targets do everything on a machine with Python 3.11+, git and make: `make demo` and `make test`.
PYTHON ?= python3
EXPORT_VENV := .venv-export
VENV := .venv
BIN := $(VENV)/bin
BENCH_VENV := .venv-bench
SITE_VENV := .venv-site
BROWSER_VENV := .venv-browser
BENCH := $(BENCH_VENV)/bin
INPUT ?=
ARGS ?=
# Processes that run tests side by side. Most tests wait for Kafka, so more than there are cores.
JOBS ?= 4
# The tests start hundreds of processes; each would compile the code anew where this is set.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 20

# pip compiles all it installs on one core, which takes as long as the rest. So this does it instead, on
# all of them, and leaves out what nobody imports, or few: that is compiled where it is imported. Files that
# are no Python of this version do not matter.
SELDOM := (/|_)tests?/|/(sympy|pip|setuptools|fontTools|onnx/backend|pygments/lexers)/

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -qq -j 0 -x '$(SELDOM)' $(VENV)/lib || true
	@touch $@

$(BENCH_VENV)/.installed: requirements-bench.lock pyproject.toml
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	$(BENCH)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

install: $(VENV)/.installed  ## the virtual environment, every package pinned by hash

model: $(VENV)/.installed  ## the embedding model, made once into the user's cache
	$(BIN)/segmenter model prepare

demo: model  ## a broker, two workers, a trainer and a stream; INPUT=FILE for your own events, ARGS="--segments 8"
	$(BIN)/segmenter demo $(if $(INPUT),--input $(INPUT)) $(ARGS)

# The linters take one core: what the tests want from the network comes beside them.
test: $(VENV)/.installed  ## lint, types, layers and every test, on a real Kafka that it starts itself
	@$(MAKE) --jobs=2 lint ready
	$(BIN)/pytest -n $(JOBS) --durations=25 --durations-min=10 $(ARGS)

ready: model
	$(BIN)/python -c "from consumer.tryout.broker.install import installed_kafka; installed_kafka()"

$(EXPORT_VENV)/.installed: requirements-export.lock pyproject.toml
	$(PYTHON) -m venv $(EXPORT_VENV)
	$(EXPORT_VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements-export.lock
	$(EXPORT_VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

test-export: $(EXPORT_VENV)/.installed  ## the export through Optimum, with torch (6 GB) in an environment of its own
	$(EXPORT_VENV)/bin/pytest tests/export $(ARGS)

test-multilingual: $(VENV)/.installed  ## the multilingual model with its real weights: made into the user's cache, 91 MB fetched once
	$(BIN)/segmenter model prepare multilingual
	$(BIN)/segmenter model prepare multilingual --embedding.precision fp32
	$(BIN)/pytest tests/models/embedding/test_multilingual.py $(ARGS)

lint: $(VENV)/.installed  ## ruff, mypy --strict, and the rule that the layers import only downwards
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	MYPYPATH=clients/python $(BIN)/mypy -p segmenter_client
	$(BIN)/lint-imports

faults: $(VENV)/.installed  ## kills, zombies, cut networks, full disks, ... on three brokers: about 45 minutes; ARGS="--help"
	$(BIN)/python -m tests.faults.run $(ARGS)

soak: model  ## an hour under load with rolling restarts: nothing may grow, be lost or doubled; ARGS="--minutes 10 --restart-minutes 3"
	$(BIN)/python -m benchmarks.soak $(ARGS)
	$(BIN)/python -m benchmarks.soak --render

test-dashboards: model  ## every query of the dashboards on a real Prometheus, rules in promtool: a few minutes; ARGS="--help"
	$(BIN)/python -m tests.dashboards.run $(ARGS)

test-kubernetes: $(VENV)/.installed  ## deploy/k8s by kustomize, against the real schemas: minutes the first time; ARGS="--help"
	$(BIN)/python -m tests.kubernetes.run $(ARGS)

test-kubernetes-api: $(VENV)/.installed  ## a real kube-apiserver takes a dry run of deploy/k8s: built the first time, in 3 GB and many minutes
	$(BIN)/python -m tests.kubernetes.api_run $(ARGS)

test-image: $(VENV)/.installed  ## the Dockerfile's steps in roots of Debian, and the pods' roles in what comes of them: as root, ten minutes
	$(BIN)/python -m tests.image.run $(ARGS)

$(SITE_VENV)/.installed: deploy/site/requirements.lock
	$(PYTHON) -m venv $(SITE_VENV)
	$(SITE_VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

site: $(VENV)/.installed $(SITE_VENV)/.installed  ## the pages of docs/ as a site, into site/, which fetches nothing from elsewhere
	NO_MKDOCS_2_WARNING=1 $(SITE_VENV)/bin/mkdocs --quiet build --strict
	$(BIN)/python -m tests.site.check site

$(BROWSER_VENV)/.installed: tests/browser/requirements.lock
	$(PYTHON) -m venv $(BROWSER_VENV)
	$(BROWSER_VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

test-report: $(VENV)/.installed $(BROWSER_VENV)/.installed  ## the report in a real headless Chromium, fetched the first time; screenshots in report-pictures/
	$(BIN)/python -m tests.browser.run --python $(BROWSER_VENV)/bin/python $(ARGS)

dist: $(VENV)/.installed  ## sdist and wheel of the product and of the Python client, into dist/
	rm -rf dist
	$(BIN)/hatchling build -d dist
	cd clients/python && $(CURDIR)/$(BIN)/hatchling build -d $(CURDIR)/dist

test-dist: $(VENV)/.installed  ## the wheels in fresh environments: the installed demo runs away from here; minutes the first time
	$(BIN)/python -m tests.dist.run $(ARGS)

test-guide: $(VENV)/.installed  ## docs/getting-started.md word for word, in a clone, with nothing in the home folder
	$(BIN)/python -m tests.guide.run $(ARGS)

bench-pipeline: $(VENV)/.installed  ## the worker through Kafka with a table for a model, beside others; ARGS="--quick"
	$(BIN)/python -m benchmarks.pipeline compare $(ARGS)

bench-restore: $(VENV)/.installed  ## times a restore with and without local checkpoints; ARGS="--users 10000"
	$(BIN)/python -m benchmarks.restore $(ARGS)

bench-recovery: $(VENV)/.installed  ## times a worker's recovery from kill -9, with and without local checkpoints
	$(BIN)/python -m benchmarks.recovery $(ARGS)

bench-restarts: model  ## rolling restarts, and from 2 to 4 workers and back, as a StatefulSet does them: pauses, rebalances, what is lost
	$(BIN)/python -m benchmarks.restarts $(ARGS)
	$(BIN)/python -m benchmarks.restarts --render

bench-switch: model  ## another embedding model for a group at work: memory of workers that hold two, pauses of partitions
	$(BIN)/python -m benchmarks.switch $(ARGS)
	$(BIN)/python -m benchmarks.switch --render

bench-startup: $(VENV)/.installed  ## CPU time and memory of a process's start; ARGS="--against ../other-checkout"
	$(BIN)/python -m benchmarks.startup $(ARGS)

bench-clusterers: model  ## River's clusterers on real profiles: quality, time, memory; ARGS="--vectors FILE"
	$(BIN)/python -m benchmarks.clusterers $(ARGS)
	$(BIN)/python -m benchmarks.clusterers --render

bench-labels: model  ## River's classifiers on real profiles with labels: quality, time, size; ARGS="--vectors FILE"
	$(BIN)/python -m benchmarks.labels $(ARGS)
	$(BIN)/python -m benchmarks.labelling.cost

bench-for-users: $(VENV)/.installed  ## what items for single users cost an event, and in memory
	$(BIN)/python -m benchmarks.for_users $(ARGS)

bench-personal: $(VENV)/.installed  ## how much of what tells a person is found in made-up texts, and what is masked wrongly
	$(BIN)/python -m benchmarks.personal $(ARGS)

bench-rules: $(VENV)/.installed  ## what rules cost an event, and to look at everybody under others
	$(BIN)/python -m benchmarks.rules $(ARGS)

bench-stability: model  ## flapping against lag by the assignment's settings, confidence, and what the model moves beside 48f6e1e; ARGS="--vectors FILE.npz"
	$(BIN)/python -m benchmarks.stability $(ARGS)

bench-drift: model  ## drift: false alarms, and how soon changes are found; ARGS="--vectors FILE.npz"
	$(BIN)/python -m benchmarks.drift $(ARGS)

bench-evaluation: model  ## how good segments are on real events; ARGS="stackexchange=FILE cofacts=FILE"
	$(BIN)/python -m benchmarks.evaluation $(ARGS)

bench-recommend: model  ## recommendations by segment against popularity and other peers; ARGS="--data FILE --vectors FILE.npz"
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r benchmarks/recommending/requirements.lock
	$(BIN)/python -m benchmarks.recommend $(ARGS)

SERVING := clients/python/examples/recommendations
test-serving: $(VENV)/.installed  ## the example that serves recommendations over HTTP, on a real Kafka
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(SERVING)/requirements.lock
	$(BIN)/python -m pytest -q tests/clients/test_serving.py $(ARGS)

bench-serving: $(VENV)/.installed  ## how long the example that serves recommendations takes for an answer
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(SERVING)/requirements.lock
	$(BIN)/python -m benchmarks.serving $(ARGS)

bench-report: $(VENV)/.installed  ## how long segmenter report takes, and how large its page is; ARGS="--users 3000"
	$(BIN)/python -m benchmarks.report $(ARGS)

bench-languages: model  ## embedding models on Chinese and on English: quality, speed, memory; ARGS="--only chinese"
	$(BIN)/segmenter model prepare multilingual
	$(BIN)/python -m benchmarks.languages $(ARGS)

bench-embed-gpu: $(VENV)/.installed  ## times the embedding on an NVIDIA GPU, which it needs; ARGS="--tensorrt"
	$(BIN)/python -m benchmarks.embed_gpu $(ARGS)

bench-embed: $(BENCH_VENV)/.installed  ## the embedding engine and its peers on this CPU, by turns (6 GB of packages the first time)
	$(BENCH)/python -m benchmarks.embed $(ARGS)

bench-explain: $(BENCH_VENV)/.installed  ## exact shares beside LIME and SHAP, and the rules over words; ARGS="--vectors FILE.npz --replays NAME=FOLDER"
	$(BENCH)/python -m benchmarks.explaining $(ARGS)

bench-embed-quality: $(BENCH_VENV)/.installed  ## whether segments get worse in int8 and fp16; ARGS="--cache FOLDER"
	$(BENCH)/python -m benchmarks.embed_quality $(ARGS)

bench-embed-render: $(VENV)/.installed  ## the tables of docs/performance.md, from benchmarks/results
	$(BIN)/python -m benchmarks.embed --render

docs: $(VENV)/.installed  ## the tables of docs/ and what of deploy/ is made from code and descriptions
	$(BIN)/python -m consumer.reference
	$(BIN)/python -m deploy.grafana.boards

format: $(VENV)/.installed  ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
	--no-annotate --python-version 3.11

lock: $(VENV)/.installed  ## pin every dependency again, by hash, for all platforms
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(COMPILE) --extra dev pyproject.toml -o requirements.lock
	$(COMPILE) --extra dev --extra export pyproject.toml -o requirements-export.lock
	$(COMPILE) --extra bench pyproject.toml -o requirements-bench.lock
	$(COMPILE) -c requirements.lock --extra rules pyproject.toml -o deploy/image/requirements-cpu.lock
	$(COMPILE) -c requirements.lock --extra gpu --extra rules pyproject.toml -o deploy/image/requirements-gpu.lock
	$(COMPILE) -c requirements.lock --extra model pyproject.toml deploy/image/requirements-build.in \
		-o deploy/image/requirements-build.lock
	$(COMPILE) deploy/site/requirements.in -o deploy/site/requirements.lock
	$(COMPILE) tests/browser/requirements.in -o tests/browser/requirements.lock
	$(COMPILE) --no-deps benchmarks/recommending/requirements.in -o benchmarks/recommending/requirements.lock
	$(COMPILE) -c requirements.lock clients/python/examples/recommendations/requirements.in \
		-o clients/python/examples/recommendations/requirements.lock
	$(COMPILE) benchmarks/pipeline/requirements-quix.in -o benchmarks/pipeline/requirements-quix.lock

clean:  ## remove what the targets above made here (the user's cache stays)
	rm -rf $(VENV) $(EXPORT_VENV) $(BENCH_VENV) $(SITE_VENV) $(BROWSER_VENV) report-pictures demo-output dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help install model demo test ready test-export test-multilingual test-dashboards test-kubernetes test-kubernetes-api test-image test-report test-serving dist site test-dist test-guide \
	lint faults soak bench-pipeline bench-restore \
	bench-recovery bench-restarts bench-switch bench-startup bench-clusterers bench-drift bench-labels bench-recommend bench-for-users bench-personal bench-report bench-serving bench-rules bench-stability bench-evaluation bench-languages \
	bench-embed bench-embed-gpu bench-embed-quality bench-embed-render docs format lock clean
