-- Totals of whole days, kept up in the transaction that records usage, so that totals do not read every record.
-- +goose Up
CREATE TABLE aim_usage_days (
    day               INTEGER NOT NULL,
    key_id            TEXT NOT NULL,
    model             TEXT NOT NULL,
    requests          BIGINT NOT NULL,
    failed            BIGINT NOT NULL,
    prompt_tokens     BIGINT NOT NULL,
    cached_tokens     BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    PRIMARY KEY (day, key_id, model)
);
CREATE INDEX aim_usage_days_key ON aim_usage_days (key_id, day);
INSERT INTO aim_usage_days
SELECT day, key_id, model, COUNT(*), SUM(CASE WHEN status >= 400 OR code <> '' THEN 1 ELSE 0 END),
    SUM(prompt_tokens), SUM(cached_tokens), SUM(completion_tokens)
FROM aim_usage GROUP BY day, key_id, model;
