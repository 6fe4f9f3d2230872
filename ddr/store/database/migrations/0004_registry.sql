-- What BfArM's registries were seen to say, and when: reference tables without patient data.

-- One row per registry. Workers watch `generation` and `seen_ms`; the one whose claim moves `next_ms` reads the registry for all.
CREATE TABLE registry_source (
    source      text PRIMARY KEY,
    generation  bigint NOT NULL DEFAULT 0,   -- grows when an entry changes
    seen_ms     bigint NOT NULL DEFAULT 0,   -- begin of the last complete reading; the entries are that old
    next_ms     bigint NOT NULL DEFAULT 0,   -- when the next reading is due
    fault       text,                        -- why the last reading failed; null when it did not
    fault_ms    bigint                       -- since when readings fail
);

-- Every state of every entry, so that an audit can tell what was believed when. until_ms is null for the present state.
CREATE TABLE registry_entry (
    source    text NOT NULL,
    entry     text NOT NULL,                 -- for a DiGA its client id
    from_ms   bigint NOT NULL,
    until_ms  bigint,
    content   jsonb NOT NULL,
    PRIMARY KEY (source, entry, from_ms)
);
CREATE UNIQUE INDEX registry_entry_now ON registry_entry (source, entry) WHERE until_ms IS NULL;
