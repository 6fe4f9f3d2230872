"""The admission where patients lie on several servers: a function that runs and is planned beside the patient's rows.

It does what `ddr.store.authorization.access` says in one statement, for one patient that is known by now. Who asked
first is settled by the lock of the pairing's row. Sessions of the recorder are not seen there: how long a claim holds
of which nothing more is heard is said by its end alone, as behind a pooler.
"""

from __future__ import annotations

from ddr.store.authorization import grace
from ddr.store.authorization.restore import RESTORES
from ddr.store.database import ask_there
from ddr.store.database.ask_there import called, marked
from ddr.store.database.stamps import present

NAME = "ddr_admit_1"  # another number for another meaning, so that two versions can run beside each other
SIGNATURE = (
    f"{NAME}(uuid, text, bigint, bigint, text, bigint, text[], bigint, integer[], bigint[], text[], bigint[], bigint)"
)

# All that decides, as one row or none; the same as `pair` of ddr.store.authorization.access. $2 is the Pairing ID, $3
# and $4 the numbers of pairing and grant, $5 the DiGA, $6 the time.
_LOOK = marked("""
SELECT p.client_id, p.ended_ms IS NOT NULL OR g.revoked_ms IS NOT NULL,
       CASE WHEN p.ended_ms IS NULL AND g.revoked_ms IS NULL AND p.client_id = $5 THEN coalesce((
         SELECT jsonb_object_agg(c.miv_url, c.until_ms) FROM consent c
          WHERE c.patient_id = $1 AND c.consent_no = ANY (g.consent_nos)
            AND c.withdrawn_ms IS NULL AND c.until_ms > $6), '{}') ELSE '{}' END,
       coalesce((
         SELECT jsonb_object_agg(kind, jsonb_build_array(opened_ms, historic_days, older_ms, older_opened_ms, delay_ms))
           FROM opening o WHERE o.patient_id = $1 AND o.pairing_no = $3), '{}'),
       k.answered, k.read_ms
  FROM pairing p
  JOIN token_grant g ON g.patient_id = $1 AND g.pairing_no = $3 AND g.grant_no = $4
  LEFT JOIN grace k ON k.patient_id = $1 AND k.pairing_no = $3
 WHERE p.patient_id = $1 AND p.pairing_no = $3 AND p.pairing_id = $2""")

# What is asked is prepared on the tables of the part; what is written goes by way of Citus, whose locks a move needs.
FUNCTION = f"""
CREATE OR REPLACE FUNCTION {NAME}(
    whose uuid, pseudonym text, pairing_number bigint, grant_number bigint, client text, at_ms bigint, kinds text[],
    steered_ms bigint, days integer[], delays bigint[], counted text[], lengths bigint[], holds_ms bigint
) RETURNS jsonb LANGUAGE plpgsql AS $function$
DECLARE
    looked record;
    held record;
    now_ms bigint := {present("steered_ms")};
    mine text[];
    claimed text[] := '{{}}';
    before jsonb;
    begun jsonb;
    pends jsonb;
BEGIN
    SELECT * INTO looked
      FROM {ask_there.NAME}(whose, '{called(_LOOK)}', $look${_LOOK}$look$, 'uuid, text, bigint, bigint, text, bigint',
             ARRAY[whose::text, pseudonym, pairing_number::text, grant_number::text, client, at_ms::text])
        AS t (client_id text, ended boolean, consents jsonb, openings jsonb, answered jsonb, read_ms bigint);
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    before := coalesce(looked.answered, '{{}}');
    IF looked.consents ?| kinds THEN
        FOR n IN 1 .. cardinality(kinds) LOOP
            IF looked.consents ? kinds[n] AND NOT looked.openings ? kinds[n] THEN
                INSERT INTO opening (patient_id, pairing_no, kind, historic_days, delay_ms)
                VALUES (whose, pairing_number, kinds[n], days[n], delays[n]) ON CONFLICT DO NOTHING;
            END IF;
        END LOOP;
        UPDATE patient SET stamp_ms = now_ms
         WHERE patient_id = whose AND stamp_ms < now_ms
           AND patient_id IN (SELECT p.patient_id FROM patient p
                               WHERE p.patient_id = whose AND p.stamp_ms < now_ms FOR NO KEY UPDATE SKIP LOCKED);
        mine := ARRAY(SELECT url FROM unnest(counted) AS url WHERE looked.consents ? url);
        IF mine <> '{{}}' THEN
            IF looked.answered IS NULL THEN
                INSERT INTO grace (patient_id, pairing_no, answered) VALUES (whose, pairing_number, '{{}}')
                    ON CONFLICT DO NOTHING;
            END IF;
            SELECT answered, pending INTO held FROM grace
             WHERE patient_id = whose AND pairing_no = pairing_number FOR NO KEY UPDATE;
            IF NOT EXISTS (
                SELECT FROM unnest(counted, lengths) AS t(url, length_ms)
                 WHERE t.url = ANY (mine) AND (held.answered ->> t.url)::bigint > at_ms - t.length_ms
                   AND (held.pending ->> t.url IS NULL OR NOT {grace.over("(held.pending ->> t.url)")}))
            THEN
                claimed := mine;
                SELECT jsonb_object_agg(url, at_ms), jsonb_object_agg(url, {grace.mark("false", "holds_ms")})
                  INTO begun, pends FROM unnest(claimed) AS url;
                UPDATE grace SET answered = answered || begun, pending = pending || pends, read_ms = at_ms
                 WHERE patient_id = whose AND pairing_no = pairing_number;
            ELSIF EXISTS (SELECT FROM unnest(mine) AS url WHERE (held.answered ->> url)::bigint > at_ms) THEN
                -- the clock was set back, and nobody shall wait for it and for the period after it
                UPDATE grace
                   SET answered = answered || (SELECT jsonb_object_agg(url, at_ms) FROM unnest(mine) AS url
                                                WHERE (held.answered ->> url)::bigint > at_ms)
                 WHERE patient_id = whose AND pairing_no = pairing_number;
            END IF;
            before := held.answered;
        ELSIF {grace.unnoted("at_ms", "looked.read_ms")} THEN
            INSERT INTO grace AS g (patient_id, pairing_no, answered, read_ms)
            VALUES (whose, pairing_number, '{{}}', at_ms)
                ON CONFLICT (patient_id, pairing_no) DO UPDATE SET read_ms = excluded.read_ms;
        END IF;
    END IF;
    RETURN jsonb_build_object(
        'client_id', looked.client_id, 'ended', looked.ended, 'consents', looked.consents, 'claimed', claimed,
        'answered', before, 'openings', looked.openings, 'restores', {RESTORES});
END $function$"""  # noqa: S608 - texts of ours
