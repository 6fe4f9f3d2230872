# The project's commands. Everything is set up on first use in .venv; nothing is installed outside this folder.
PYTHON ?= python3
ARGS ?=
VENV := .venv
# The tests start hundreds of processes, and each would translate the whole recorder anew (2 s).
unexport PYTHONDONTWRITEBYTECODE
BIN := $(VENV)/bin
# The specification's artifacts (profiles, examples) are not part of this repository; the validator's tests need them.
export DDR_HDDT_ARTIFACTS ?= $(abspath $(wildcard ../shared/hddt/artifacts))
export DDR_CGM_TRACE ?= $(abspath $(wildcard ../shared/cgm/dexcom-g4-subject-1.csv))
# One process, after the others: it judges what they received.
VALIDATE := $(if $(DDR_HDDT_ARTIFACTS),$(BIN)/python -m pytest,true)
# Not more than one PostgreSQL has connections for, where there are many cores.
PARALLEL := -n logical --maxprocesses 6 --dist loadfile
EVIDENCE := .evidence
MINUTES := 13
TESTS := $(BIN)/python -m pytest
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo serve test test-pooler citus-test spread-test test-browser lint format conformance ci validator tls-scanner keycloak-test bench soak poller evidence dossier coverage mutation lock sbom prepare-release release clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(VENV)/.run: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(MAKE) --no-print-directory $(VENV)/.new
	@$(BIN)/python tools/venv_fits.py embedded || $(PIP) -e '.[embedded]'
	@touch $@

# An environment that is not there, or not whole: one whose making was interrupted has no pip.
.PHONY: $(VENV)/.new
$(VENV)/.new:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make a virtual environment: install python3-venv, or name another Python (make PYTHON=…)" >&2; exit 1; }
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.dev: $(VENV)/.run
	@$(BIN)/python tools/venv_fits.py embedded test lint release || $(PIP) -e '.[embedded,test,lint,release]'
	@touch $@

$(VENV)/.measure: $(VENV)/.dev
	@$(BIN)/python tools/venv_fits.py embedded test lint release measure || $(PIP) -e '.[embedded,test,lint,release,measure]'
	@touch $@

demo: $(VENV)/.run ## run the whole recorder with stand-ins for everything outside it; ARGS="--once" to end after the story
	@$(BIN)/ddr demo $(ARGS)

serve: $(VENV)/.run ## run the recorder alone, configured by DDR_* variables; without a database it runs one in .ddr
	@$(if $(DDR_DATABASE_URL)$(DDR_SETTINGS)$(DDR_EMBEDDED),,DDR_EMBEDDED=true )$(BIN)/ddr serve $(ARGS)

test: $(VENV)/.dev ## run all tests except those that need a browser, a validator or a scanner, or take long (.ci/run runs all)
	@echo "About $(MINUTES) minutes on two cores; each test file runs on one core, several files in parallel."
	@$(TESTS) $(PARALLEL) -m "not slow and not browser and not validator and not scanner and not packaging" $(ARGS)

# Rooms that reach the database by the run's own settings; the others bring a server of their own, or use none.
POOLED := attacks client clients diga_api gateway http identity miv oauth operations patient_pages registries scopes spec store
# Of all that a session's state could spoil: locks, leases, batches, tokens, statements in turns. CI has no time for the rest.
POOLED_IN_CI := spec/test_isolation.py oauth/test_refresh_token.py oauth/test_pairing.py oauth/test_consent_record.py \
	diga_api/test_admissions.py diga_api/test_cursor.py diga_api/test_several.py gateway/test_http.py gateway/test_record_machine.py \
	operations/test_housekeeping.py patient_pages/test_data.py store/test_chunks.py store/test_lock_order.py
test-pooler: $(VENV)/.dev ## run the tests that use the database behind PgBouncer in transaction mode (needs pgbouncer)
	@TEST_THROUGH_POOLER=1 $(BIN)/python -m pytest $(PARALLEL) $(POOLED:%=tests/%) \
		-m "not skipif and not slow and not browser and not validator and not scanner and not packaging" $(ARGS)

# At a coordinator of Citus with servers, whose role makes databases on all of them.
CITUS := isolation con as_tokens obs ops_grace ser dev priv bg
citus-test: $(VENV)/.dev ## run the demo and the interface tests with spread patients, at the coordinator DDR_TEST_CITUS_URL
	@test -n "$$DDR_TEST_CITUS_URL" || { echo "DDR_TEST_CITUS_URL must name a database of a coordinator (docs/scaling.md)" >&2; exit 2; }
	@$(BIN)/python -m tests.support.citus
	@DDR_TEST_DATABASE_URL="$$DDR_TEST_CITUS_URL" $(BIN)/python -m pytest $(CITUS:%=tests/spec/test_%.py) \
		-m "not browser and not validator and not scanner and not packaging" $(ARGS)

# Without the engine: that the recorder does the same for patients that are spread, where it has other statements for them.
spread-test: $(VENV)/.dev ## run these tests and those of searches and patients' pages, on one PostgreSQL that stands for several
	@TEST_AS_IF_SPREAD=1 $(BIN)/python -m pytest $(PARALLEL) $(CITUS:%=tests/spec/test_%.py) tests/diga_api tests/patient_pages \
		-m "not skipif and not slow and not browser and not validator and not scanner and not packaging" $(ARGS)

test-browser: $(VENV)/.dev ## run the tests in a real Chromium (needs /usr/bin/chromium)
	@$(BIN)/python -m pytest $(PARALLEL) -m browser $(ARGS)

lint: $(VENV)/.dev ## run ruff and mypy --strict, and check the order of the rooms
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.dev ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

conformance: $(VENV)/.dev ## run the black-box tests by requirement; writes docs/conformance.md, except for a part (ARGS)
	@rm -rf $(EVIDENCE)
	@$(BIN)/python -m pytest $(PARALLEL) -m "requirement and not validator" --evidence $(EVIDENCE) $(ARGS)
	@$(VALIDATE) tests/spec -m "requirement and validator" --evidence $(EVIDENCE) $(ARGS)
	@$(BIN)/python -m tests.conformance $(EVIDENCE) $(if $(ARGS),,--write docs/conformance.md)

ci: lint ## run everything: lint, `make test`, the other tests, and check that the conformance report is up to date
	@rm -rf $(EVIDENCE) && mkdir -p $(EVIDENCE)/documents
	@$(MAKE) --no-print-directory test ARGS="--evidence $(EVIDENCE) $(ARGS)" \
		TESTS="$(BIN)/python -m slipcover --json --out $(EVIDENCE)/documents/slipcover.json -m pytest"
	@$(BIN)/python -m tools.measure.run $(EVIDENCE)/documents
	@$(BIN)/python -m pytest $(PARALLEL) --no-loadscope-reorder -m "(slow or browser or scanner or packaging) and not validator" --evidence $(EVIDENCE) $(ARGS)
	@$(MAKE) --no-print-directory spread-test
	@$(MAKE) --no-print-directory test-pooler POOLED="$(POOLED_IN_CI)"
	@$(VALIDATE) tests/spec -m validator --evidence $(EVIDENCE) $(ARGS)
	@$(BIN)/python -m tests.conformance $(EVIDENCE) --check docs/conformance.md
	@$(MAKE) --no-print-directory dossier

tests/validator/target/.built: tests/validator/pom.xml tests/validator/src/main/java/Validator.java
	@cd tests/validator && mvn -q -B -ntp compile dependency:copy-dependencies -DincludeScope=runtime && touch target/.built

validator: tests/validator/target/.built ## build HAPI's FHIR validator for the tests (needs Maven and Java 17)

tests/tls/.sslyze/bin/sslyze:
	@$(PYTHON) -m venv tests/tls/.sslyze
	@tests/tls/.sslyze/bin/pip install --quiet --disable-pip-version-check sslyze==6.3.1

tls-scanner: tests/tls/.sslyze/bin/sslyze ## install sslyze for the tests, in its own environment (it needs an older cryptography)

KEYCLOAK := 26.5.6
tests/keycloak/target/keycloak-$(KEYCLOAK):
	@mvn -q -B -ntp org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
		-Dartifact=org.keycloak:keycloak-quarkus-dist:$(KEYCLOAK):zip -DoutputDirectory=tests/keycloak/target
	@cd tests/keycloak/target && unzip -q -o keycloak-quarkus-dist-$(KEYCLOAK).zip

keycloak-test: $(VENV)/.dev tests/keycloak/target/keycloak-$(KEYCLOAK) ## log in at a real Keycloak (needs Maven and Java 17)
	@$(BIN)/python -m pytest tests/keycloak/check_keycloak.py $(ARGS)

bench: $(VENV)/.dev ## measure ratios: storage, statements, memory, speed compared with the server's own floor
	@$(BIN)/python -m tests.bench $(ARGS)

soak: $(VENV)/.dev ## test with kills, stops, clock steps, hostile clients and a broken registry at once; ARGS=1800 for half an hour
	@$(BIN)/python -m tests.soak $(ARGS)

poller: $(VENV)/.dev ## let a DiGA poll 1,000 pairings for ten minutes while both sides are killed; ARGS="200 5" for fewer and shorter
	@$(BIN)/python -m tests.poller $(ARGS)

evidence: $(VENV)/.dev ## render docs/evidence into docs/security.md, hazards.md and data-protection.md
	@$(BIN)/python -m tools.evidence

BENCH :=
dossier: $(VENV)/.dev ## write the dossier for a quality management system to dist/dossier, from the evidence of `make ci`; BENCH=FILE of `make bench`
	@$(BIN)/python -m tools.dossier --out dist/dossier --evidence $(EVIDENCE) $(if $(BENCH),--bench "$(BENCH)") && echo dist/dossier/dossier.html

coverage: export COVERAGE_FILE := $(abspath .coverage-data)/coverage
coverage: $(VENV)/.measure ## measure the lines and branches that tests reach, including processes; writes docs/evidence/measured, except for a part (ARGS)
	@rm -rf .coverage-data && mkdir .coverage-data
	@$(BIN)/python -m coverage run -m pytest $(PARALLEL) -p tests.support.contexts \
		-m "not validator and not scanner" $(ARGS)
	@$(BIN)/python -m coverage combine -q
	@$(BIN)/python -m coverage json -q --show-contexts -o .coverage-data/report.json
	@$(BIN)/python -m tools.measure.coverage .coverage-data/report.json $(if $(ARGS),--part)

mutation: $(VENV)/.measure ## put faults into the rooms that decide, one at a time: does a test find each? Writes docs/evidence/measured
	@$(BIN)/python -m mutmut run $(ARGS)
	@$(BIN)/python -m tools.measure.mutation

lock: $(VENV)/.dev ## write the locked requirements with hashes (needs a package index)
	@$(BIN)/python -m tools.lock

sbom: $(VENV)/.dev ## write the software bill of materials, CycloneDX, to dist/
	@mkdir -p dist && $(BIN)/python -m tools.sbom dist/ddr.cdx.json && echo dist/ddr.cdx.json

prepare-release: $(VENV)/.dev ## write VERSION into pyproject.toml, ddr/__init__.py and CHANGELOG.md, to be committed
	@$(BIN)/python -m tools.prepare_release "$(VERSION)"

release: $(VENV)/.dev ## prove, build and sign dist/VERSION: make release VERSION=1.0.0 KEY=release.pem; runs make ci unless the commit is proven
	@$(BIN)/python -m tools.release "$(VERSION)" --key "$(KEY)" --ready
	@$(BIN)/python -m tests.conformance $(EVIDENCE) --proves-this-commit || $(MAKE) --no-print-directory ci
	@$(BIN)/python -m tools.release "$(VERSION)" --key "$(KEY)" --evidence $(EVIDENCE) $(if $(OUT),--out "$(OUT)")

clean: ## remove .venv and caches (keeps .ddr, dist and evidence)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
