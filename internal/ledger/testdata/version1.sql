-- A database as version 1 of the tables left it, for SQLite and PostgreSQL: it must not change. The secret of key_old is
-- aim-0000000000000000000000000000000000000000001.
CREATE TABLE aim_meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
CREATE TABLE aim_keys (
    id      TEXT PRIMARY KEY,
    prefix  TEXT NOT NULL,
    hash    TEXT NOT NULL UNIQUE,
    name    TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    revoked BIGINT NOT NULL,
    permits TEXT NOT NULL
);
CREATE TABLE aim_usage (
    request           TEXT PRIMARY KEY,
    key_id            TEXT NOT NULL,
    model             TEXT NOT NULL,
    endpoint          TEXT NOT NULL,
    began             BIGINT NOT NULL,
    day               INTEGER NOT NULL,
    duration          BIGINT NOT NULL,
    status            INTEGER NOT NULL,
    code              TEXT NOT NULL,
    prompt_tokens     BIGINT NOT NULL,
    cached_tokens     BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL
);
CREATE INDEX aim_usage_began ON aim_usage (began);
CREATE INDEX aim_usage_key ON aim_usage (key_id, began);
INSERT INTO aim_keys (id, prefix, hash, name, created, expires, revoked, permits) VALUES
    ('key_old', 'aim-00000000', '9faf28c9c236201151a04c11b19b82b37449a6a7a07faf76c044cf9500dc1960', 'old', 1793491200000000, 0, 0, '{"tokens_per_day":1000}'),
    ('key_revoked', 'aim-11111111', '0000000000000000000000000000000000000000000000000000000000000000', 'revoked', 1793577600000000, 0, 1793664000000000, '{}');
INSERT INTO aim_usage (request, key_id, model, endpoint, began, day, duration, status, code, prompt_tokens, cached_tokens, completion_tokens) VALUES
    ('req_1', 'key_old', 'm', '/v1/completions', 1795687200000000, 20261126, 1000, 200, '', 10, 0, 9),
    ('req_2', 'key_old', 'm', '/v1/completions', 1795737599000000, 20261126, 1000, 499, '', 20, 4, 0),
    ('req_3', '', 'm', '/v1/completions', 1795694400000000, 20261126, 1000, 200, 'server_error', 7, 0, 0),
    ('req_4', 'key_old', 'n', '/v1/completions', 1795737600000000, 20261127, 1000, 200, '', 1, 0, 1);
