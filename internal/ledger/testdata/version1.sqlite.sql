-- Which migrations ran, as goose notes it in SQLite.
CREATE TABLE aim_schema (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    version_id INTEGER NOT NULL,
    is_applied INTEGER NOT NULL,
    tstamp     TIMESTAMP DEFAULT (datetime('now'))
);
INSERT INTO aim_schema (version_id, is_applied) VALUES (0, TRUE), (1, TRUE);
