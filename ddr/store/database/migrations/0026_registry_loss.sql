-- What the DiGA-VZ took away and what has not yet followed from it (a reference table without patient data).
CREATE TABLE registry_loss (
    client_id  text NOT NULL,
    valueset   text NOT NULL,                -- a kind of data; empty: the DiGA itself
    since_ms   bigint NOT NULL,              -- first reading that lacked it
    readings   integer NOT NULL,             -- that lacked it
    unknown    integer NOT NULL,             -- of these how many did not know the DiGA when asked
    evidence   text NOT NULL,                -- retired | not-permitted | unknown | listed | unanswered
    held_ms    bigint,                       -- since when the end waits for an operator
    confirmed  boolean NOT NULL DEFAULT false,
    decided    boolean NOT NULL DEFAULT false,  -- it ends, whatever the registry says from now on
    PRIMARY KEY (client_id, valueset)
);
