/**
 * The schema of `store.db`, one script a version: script n takes a store from version n to n + 1. A script that
 * was released is never edited; a change is a new script. `PRAGMA user_version` holds the version.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE connectors (
    name        TEXT PRIMARY KEY,
    type        TEXT NOT NULL,
    config      TEXT NOT NULL CHECK (json_valid(config)),
    schedule    TEXT,
    timezone    TEXT,
    enabled     INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    description TEXT,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE streams (
    connector TEXT NOT NULL REFERENCES connectors (name) ON DELETE CASCADE,
    position  INTEGER NOT NULL,
    name      TEXT NOT NULL,
    declared  TEXT NOT NULL CHECK (json_valid(declared)),
    PRIMARY KEY (connector, position),
    UNIQUE (connector, name)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE secrets (
    owner      TEXT PRIMARY KEY,
    key_id     TEXT NOT NULL,
    sealed     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  -- Run ids grow with time, so the newest page of any filter is the end of one of the indexes below.
  CREATE TABLE runs (
    run_id           TEXT PRIMARY KEY,
    connector        TEXT NOT NULL,
    trigger          TEXT NOT NULL,
    status           TEXT NOT NULL CHECK (status IN ('queued', 'running', 'succeeded', 'partial', 'failed', 'cancelled')),
    attempt          INTEGER NOT NULL,
    only_streams     TEXT,
    full_refresh     INTEGER NOT NULL CHECK (full_refresh IN (0, 1)),
    due_at           INTEGER,
    queued_at        INTEGER NOT NULL,
    started_at       INTEGER,
    finished_at      INTEGER,
    retry_at         INTEGER,
    cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
    epoch            INTEGER,
    streams          TEXT NOT NULL DEFAULT '[]',
    error            TEXT
  ) STRICT;
  -- One run of a connector at a time, whatever the code above forgets; and all that a claim has to look at.
  CREATE UNIQUE INDEX runs_active ON runs (connector) WHERE status IN ('queued', 'running');
  CREATE UNIQUE INDEX runs_due ON runs (connector, due_at) WHERE due_at IS NOT NULL;
  CREATE INDEX runs_by_connector ON runs (connector, run_id);
  CREATE INDEX runs_by_status ON runs (status, run_id);
  CREATE INDEX runs_by_connector_status ON runs (connector, status, run_id);

  -- Counting a million runs by status takes 60 ms; a row a status, kept by triggers, takes none.
  CREATE TABLE run_counts (status TEXT PRIMARY KEY, runs INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  INSERT INTO run_counts VALUES ('queued', 0), ('running', 0), ('succeeded', 0), ('partial', 0), ('failed', 0), ('cancelled', 0);
  CREATE TRIGGER runs_counted_in AFTER INSERT ON runs BEGIN
    UPDATE run_counts SET runs = runs + 1 WHERE status = NEW.status;
  END;
  CREATE TRIGGER runs_counted_over AFTER UPDATE OF status ON runs WHEN OLD.status <> NEW.status BEGIN
    UPDATE run_counts SET runs = runs - 1 WHERE status = OLD.status;
    UPDATE run_counts SET runs = runs + 1 WHERE status = NEW.status;
  END;
  CREATE TRIGGER runs_counted_out AFTER DELETE ON runs BEGIN
    UPDATE run_counts SET runs = runs - 1 WHERE status = OLD.status;
  END;

  CREATE TABLE run_log (
    run_id  TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    line    INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    level   TEXT NOT NULL CHECK (level IN ('info', 'warn', 'error')),
    message TEXT NOT NULL,
    PRIMARY KEY (run_id, line)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE leases (
    name       TEXT PRIMARY KEY,
    holder     TEXT,
    epoch      INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TRIGGER leases_stay BEFORE DELETE ON leases BEGIN
    SELECT RAISE(ABORT, 'leases are kept: an epoch never repeats');
  END;
  CREATE TRIGGER leases_grow BEFORE UPDATE OF epoch ON leases WHEN NEW.epoch < OLD.epoch BEGIN
    SELECT RAISE(ABORT, 'an epoch never goes back');
  END;

  CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    actor   TEXT NOT NULL,
    action  TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail  TEXT NOT NULL CHECK (json_valid(detail))
  ) STRICT;
  CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
  END;
  CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
  END;
  `,
];
