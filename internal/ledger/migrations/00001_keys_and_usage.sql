-- The same for SQLite and PostgreSQL. Times are microseconds since 1970 UTC, 0 for never; a day is the number 20261127.
-- +goose Up
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
