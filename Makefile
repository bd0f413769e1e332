# Every target works in a bare clone: see tools/environment. CPU=1 takes PyTorch without CUDA.
.PHONY: merge test lint type format ci docs

export CPU

merge:
	@tools/merge

test:
	@tools/environment --test pytest

lint:
	@tools/environment --test ruff check .

type:
	@tools/environment --test mypy

format:
	@tools/environment --test ruff check --fix .
	@tools/environment --test ruff format .

ci:
	@.ci/run

# Dead links are errors.
docs:
	@tools/environment --docs python -m sphinx -E -b html -c docs -q -W --keep-going . build/site
	@echo "open build/site/index.html"
