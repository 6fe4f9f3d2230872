-- Credentials of machines: certificates of bridges, tokens for the registries, roles that read the database. Each has an
-- owner, a purpose, an end and a time of last use (docs/credentials.md). Tokens of gateway apps have theirs in gateway_token.
CREATE TABLE credential (
    kind      text NOT NULL,       -- bridge | registry | database
    mark      text NOT NULL,       -- SHA-256 of the certificate or the token, in hex; name of the role
    name      text NOT NULL,       -- shared by two of a kind while one follows the other
    owner     text NOT NULL,       -- empty: nobody has said yet
    purpose   text NOT NULL,
    since_ms  bigint NOT NULL,
    until_ms  bigint,              -- when it ends by itself; null: not known, or never
    used_ms   bigint,              -- last use, to the hour
    ended_ms  bigint,
    PRIMARY KEY (kind, mark)
);

INSERT INTO credential (kind, mark, name, owner, purpose, since_ms, ended_ms)
SELECT 'bridge', encode(certificate_sha256, 'hex'), name, '', '', created_ms, revoked_ms FROM gateway_certificate;

-- Two certificates of a name: the next one beside the present one.
DROP INDEX gateway_certificate_alive;
CREATE INDEX gateway_certificate_alive ON gateway_certificate (name) WHERE revoked_ms IS NULL;
