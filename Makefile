# Thin: every target makes the environment where necessary, then calls one command in it.
# Without make: python3 smile_core/bootstrap.py -m smile_core.reproduce, and so on.

PYTHON ?= python3
RUN := $(PYTHON) smile_core/bootstrap.py
REPRODUCE := -m smile_core.reproduce \
	$(if $(PROFILE),--profile $(PROFILE)) $(if $(ONLY),--only $(ONLY)) \
	$(if $(FORCE),--force) $(if $(JOBS),--jobs $(JOBS)) \
	$(if $(SCHEDULER),--scheduler $(SCHEDULER))

.PHONY: help reproduce test soak notebooks report lint bench lab clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-12s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

reproduce:  ## Run the notebooks, print the claims [PROFILE=full] [ONLY=01,08] [FORCE=1] [JOBS=2] [SCHEDULER=local]
	@$(RUN) $(if $(SCHEDULER),--extra distributed) $(REPRODUCE)

test:  ## Check style and spelling, test the package, the notebooks and the report
	@$(RUN) --extra lint -m pytest

soak:  ## Kill runs at random moments and resume them, unmix 2,000 odd inputs (an hour) [SOAK=50]
	@SMILE_SOAK=$(or $(SOAK),50) $(RUN) -m pytest -rP tests/test_reliability.py

notebooks:  ## Refresh notebooks/*.ipynb from notebooks/*.py [ONLY=01,08] [FORCE=1] [JOBS=2]
	@$(RUN) $(REPRODUCE) --publish

report:  ## Make one HTML book of the notebooks, to read offline [PROFILE=full]
	@$(RUN) -m smile_core report $(if $(PROFILE),--profile $(PROFILE))

lint:  ## Check style and spelling
	@$(RUN) --extra lint -m ruff check
	@$(RUN) --extra lint -m ruff format --check
	@$(RUN) --extra lint -m codespell_lib

bench:  ## Measure errors and seconds on the real scenes (an hour) [SEEDS=5]
	@$(RUN) tests/bench.py $(if $(SEEDS),--seeds $(SEEDS))
	@$(RUN) tests/bench_scaling.py

lab:  ## Open the notebooks in JupyterLab
	@$(RUN) -m jupyterlab

clean:  ## Remove the environment, the caches and the results of the quick profile
	rm -rf .venv .pytest_cache .ruff_cache figures/quick figures/*/notebooks
	find . -name __pycache__ -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -prune -exec rm -rf {} +
