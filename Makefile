.PHONY: test lint type format ci docs

test:
	pytest

lint:
	ruff check .

type:
	mypy

format:
	ruff check --fix .
	ruff format .

ci:
	.ci/run

# Needs the extra `docs`: pip install -c constraints.txt -e ".[docs]". Dead links are errors.
docs:
	python -m sphinx -E -b html -c docs -q -W --keep-going . build/site
	@echo "open build/site/index.html"
