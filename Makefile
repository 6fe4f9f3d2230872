# The project's commands. Everything is set up on first use in .venv; nothing is installed outside this folder.
PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
# The specification's artifacts (profiles, examples) are not part of this repository; the validator's tests need them.
export DDR_HDDT_ARTIFACTS ?= $(abspath $(wildcard ../shared/hddt/artifacts))
export DDR_CGM_TRACE ?= $(abspath $(wildcard ../shared/cgm/dexcom-g4-subject-1.csv))
ifeq ($(DDR_HDDT_ARTIFACTS),)
JUDGED := and not validator
endif
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo serve test test-browser lint format conformance ci validator tls-scanner keycloak-test bench soak clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(VENV)/.run: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[embedded]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) -e '.[embedded,test,lint]'
	@touch $@

demo: $(VENV)/.run ## the whole recorder with stand-ins for the outside; ARGS="--once" to end by itself
	@$(BIN)/ddr demo $(ARGS)

serve: $(VENV)/.run ## the recorder alone, configured by DDR_* variables
	@$(BIN)/ddr serve $(ARGS)

test: $(VENV)/.dev ## all tests but those that need a browser
	@$(BIN)/python -m pytest -m "not browser and not validator and not scanner" $(ARGS)

test-browser: $(VENV)/.dev ## the tests in a real Chromium (needs /usr/bin/chromium)
	@$(BIN)/python -m pytest -m browser $(ARGS)

lint: $(VENV)/.dev ## ruff, mypy --strict, order of the rooms
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.dev ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

conformance: $(VENV)/.dev ## black-box tests by requirement; writes docs/conformance.md
	@$(BIN)/python -m pytest tests/spec -m "requirement $(JUDGED)" --conformance docs/conformance.md $(ARGS)

ci: $(VENV)/.dev ## everything: lint, all tests, and the conformance report is up to date
	@$(MAKE) --no-print-directory lint
	@$(BIN)/python -m pytest $(if $(JUDGED),-m "not validator") --conformance-check docs/conformance.md $(ARGS)

tests/validator/target/.built: tests/validator/pom.xml tests/validator/src/main/java/Validator.java
	@cd tests/validator && mvn -q -B -ntp compile dependency:copy-dependencies -DincludeScope=runtime && touch target/.built

validator: tests/validator/target/.built ## HAPI's FHIR validator for the tests (needs Maven and Java 17)

tests/tls/.sslyze/bin/sslyze:
	@$(PYTHON) -m venv tests/tls/.sslyze
	@tests/tls/.sslyze/bin/pip install --quiet --disable-pip-version-check sslyze==6.3.1

tls-scanner: tests/tls/.sslyze/bin/sslyze ## sslyze for the tests, in an environment of its own (it needs an older cryptography)

KEYCLOAK := 26.5.6
tests/keycloak/target/keycloak-$(KEYCLOAK):
	@mvn -q -B -ntp org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
		-Dartifact=org.keycloak:keycloak-quarkus-dist:$(KEYCLOAK):zip -DoutputDirectory=tests/keycloak/target
	@cd tests/keycloak/target && unzip -q -o keycloak-quarkus-dist-$(KEYCLOAK).zip

keycloak-test: $(VENV)/.dev tests/keycloak/target/keycloak-$(KEYCLOAK) ## log in at a real Keycloak (needs Maven and Java 17)
	@$(BIN)/python -m pytest tests/keycloak/check_keycloak.py $(ARGS)

bench: $(VENV)/.dev ## measured ratios: storage, statements, memory, speed against the server's own floor
	@$(BIN)/python -m tests.bench $(ARGS)

soak: $(VENV)/.dev ## kill workers and PostgreSQL while gateways send; ARGS=3600 for an hour
	@$(BIN)/python -m tests.gateway.durability $(ARGS)

clean: ## remove what make created (keeps .ddr)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
