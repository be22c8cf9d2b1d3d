# The commands of this repository; .ci/run and the README call these and nothing else.
#   make demo    one campaign on the CPU, no LLM, no key
#   make test    every check and the whole test suite
#   make test-node    campaigns on a node that runs pods, and what survives there; needs root and containerd, minutes
#   make redteam every hostile and every honest candidate of tests/redteam; writes docs/redteam.md
#   make cluster-up    a real Kubernetes control plane for people; node-up one that runs pods; cluster-down ends either
#   make cluster-binaries    what it is made of, built from Go modules where it is not found; minutes the first time
#   make check   ruff, mypy --strict and the lint of import directions
#   make venv    .venv alone          PYTHON=/path/to/python3 chooses what it is made with
#   make lock    recompile requirements/*.txt from pyproject.toml; UPGRADE=--upgrade takes the newest versions
#   make clean   remove .venv, caches and build outputs; campaigns (.everforge/) stay
.PHONY: demo test test-node redteam check venv lock clean cluster-binaries cluster-up node-up cluster-down

export PYTHON
NODE_TESTS = tests/cluster/test_campaign*.py tests/cluster/test_full_node.py

demo:
	@scripts/make-venv run
	.venv/bin/everforge run examples/softmax-entropy.yaml

test: check cluster-binaries
	.venv/bin/pytest -n 2 --dist loadfile --max-worker-restart 0   # a worker that died would be waited for

test-node: venv
	.venv/bin/python tests/cluster/cluster_binaries.py --full-node
	EVERFORGE_TEST_NODE=1 .venv/bin/pytest --durations=0 --durations-min=5 $(NODE_TESTS)

redteam: venv
	.venv/bin/python tests/redteam/score.py --device cpu --without-rules --markdown docs/redteam.md

cluster-binaries: venv
	.venv/bin/python tests/cluster/cluster_binaries.py

cluster-up: venv
	@.venv/bin/python tests/cluster/up.py

node-up: venv
	@.venv/bin/python tests/cluster/up.py --full-node

cluster-down: venv
	@.venv/bin/python tests/cluster/down.py

check: venv
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

venv:
	@scripts/make-venv dev

COMPILE = .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header --overrides requirements/not-locked.txt $(UPGRADE)

lock: venv
	$(COMPILE) pyproject.toml requirements/torch-needs.in --extra dev --output-file requirements/dev.txt
	$(COMPILE) pyproject.toml requirements/torch-needs.in --extra cli --extra runners \
		--constraints requirements/dev.txt --output-file requirements/run.txt
	$(COMPILE) pyproject.toml --extra agents --extra store --extra telemetry \
		--constraints requirements/dev.txt --output-file requirements/agent.txt
	$(COMPILE) pyproject.toml --extra operator --constraints requirements/dev.txt --output-file requirements/operator.txt
	$(COMPILE) pyproject.toml requirements/torch-needs.in --extra runners \
		--constraints requirements/dev.txt --output-file requirements/runner.txt
	$(COMPILE) requirements/build.in --constraints requirements/dev.txt --output-file requirements/build.txt

clean:
	rm -rf .venv build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
