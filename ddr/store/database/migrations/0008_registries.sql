-- What the operator learns about the registries, and versions of MIV ValueSets. No patient data.

ALTER TABLE registry_source ADD COLUMN notes jsonb NOT NULL DEFAULT '[]';   -- what the last reading found to complain about

-- What happened between the registries and this recorder: faults and their ends, changes, and what followed from them.
CREATE TABLE registry_event (
    event_no  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source    text NOT NULL,
    at_ms     bigint NOT NULL,
    kind      text NOT NULL,                 -- fault | recovered | note | unpaired | imported | activated | report
    detail    jsonb NOT NULL
);
CREATE INDEX registry_event_at ON registry_event (at_ms);

-- Versions of MIV ValueSets beside the ones of the folder miv_packages. The one activated last is in force.
CREATE TABLE miv_version (
    name          text NOT NULL,             -- of the MIV package
    version       text NOT NULL,             -- of the ValueSet
    valuesets     jsonb NOT NULL,            -- the ValueSet resources of the MIV, included ones too
    meta          text,                      -- miv.toml that goes with it; null: that of the folder
    origin        text NOT NULL,             -- package#version of the ZTS, or the imported file
    sha256        text NOT NULL,             -- of the archive, hex
    imported_ms   bigint NOT NULL,
    activated_ms  bigint,
    PRIMARY KEY (name, version)
);
