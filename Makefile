.PHONY: test lint type format ci

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
