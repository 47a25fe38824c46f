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
  `
  -- When each connector with a schedule is due next. Triggers put a row here, and take it out, with every change of a
  -- connector's schedule, whoever makes it; the scheduler plans rows without a due time and moves the others on. One
  -- index is all that a tick looks at, so that connectors which are not due cost nothing.
  CREATE TABLE schedules (
    connector TEXT PRIMARY KEY REFERENCES connectors (name) ON DELETE CASCADE,
    spec      TEXT,
    due_at    INTEGER,
    start_at  INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX schedules_next ON schedules (start_at, connector);
  INSERT INTO schedules (connector, start_at)
    SELECT name, 0 FROM connectors WHERE enabled = 1 AND schedule IS NOT NULL;
  CREATE TRIGGER connectors_scheduled AFTER INSERT ON connectors WHEN NEW.enabled = 1 AND NEW.schedule IS NOT NULL BEGIN
    INSERT INTO schedules (connector, start_at) VALUES (NEW.name, NEW.updated_at);
  END;
  CREATE TRIGGER connectors_rescheduled AFTER UPDATE OF schedule, timezone, enabled ON connectors
  WHEN OLD.schedule IS NOT NEW.schedule OR OLD.timezone IS NOT NEW.timezone OR OLD.enabled <> NEW.enabled BEGIN
    DELETE FROM schedules WHERE connector = NEW.name;
    INSERT INTO schedules (connector, start_at) SELECT NEW.name, NEW.updated_at WHERE NEW.enabled = 1 AND NEW.schedule IS NOT NULL;
  END;

  -- When the clock was put back, due times that a run already stands for come again, and are new ones.
  ALTER TABLE runs ADD COLUMN before_set_back INTEGER NOT NULL DEFAULT 0 CHECK (before_set_back IN (0, 1));
  DROP INDEX runs_due;
  CREATE UNIQUE INDEX runs_due ON runs (connector, due_at) WHERE due_at IS NOT NULL AND before_set_back = 0;
  -- A due time that no run came of is in the history too, with its reason; how a connector is doing looks past them.
  ALTER TABLE runs ADD COLUMN skipped INTEGER NOT NULL DEFAULT 0 CHECK (skipped IN (0, 1));
  CREATE INDEX runs_real ON runs (connector, run_id) WHERE skipped = 0;
  -- What the clock said when the holder last did what the lease is for: how a clock that was put back is noticed.
  ALTER TABLE leases ADD COLUMN seen_at INTEGER;

  -- A connector whose runs fail in a row. No row: closed, nothing failed since the last success.
  CREATE TABLE breakers (
    connector  TEXT PRIMARY KEY REFERENCES connectors (name) ON DELETE CASCADE,
    failures   INTEGER NOT NULL,
    opened_at  INTEGER,
    open_until INTEGER,
    error      TEXT NOT NULL CHECK (json_valid(error)),
    CHECK ((opened_at IS NULL) = (open_until IS NULL))
  ) STRICT, WITHOUT ROWID;

  -- What the last look at each connector's source found.
  CREATE TABLE checks (
    connector TEXT PRIMARY KEY REFERENCES connectors (name) ON DELETE CASCADE,
    at        INTEGER NOT NULL,
    ok        INTEGER NOT NULL CHECK (ok IN (0, 1)),
    report    TEXT NOT NULL CHECK (json_valid(report))
  ) STRICT, WITHOUT ROWID;

  -- What people know of each subject's state, and what the last looks saw; and what is still to be delivered: of each
  -- subject its newest change alone, so that a receiver which was away hears what holds now.
  CREATE TABLE alert_states (
    subject TEXT PRIMARY KEY,
    told    TEXT NOT NULL,
    seen    TEXT NOT NULL,
    since   INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE alerts (
    subject  TEXT PRIMARY KEY,
    id       TEXT NOT NULL UNIQUE,
    at       INTEGER NOT NULL,
    body     TEXT NOT NULL CHECK (json_valid(body)),
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at  INTEGER NOT NULL,
    error    TEXT
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX alerts_next ON alerts (next_at);

  -- Keys that a rotation took out of use. What is still sealed by one is refused: whoever sealed it has not seen that the
  -- key changed, and nothing could open the value after the key is gone.
  CREATE TABLE retired_keys (key_id TEXT PRIMARY KEY, retired_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TRIGGER secrets_sealed_late BEFORE INSERT ON secrets WHEN EXISTS (SELECT 1 FROM retired_keys WHERE key_id = NEW.key_id) BEGIN
    SELECT RAISE(ABORT, 'key retired');
  END;
  CREATE TRIGGER secrets_resealed_late BEFORE UPDATE OF key_id, sealed ON secrets WHEN EXISTS (SELECT 1 FROM retired_keys WHERE key_id = NEW.key_id) BEGIN
    SELECT RAISE(ABORT, 'key retired');
  END;
  CREATE INDEX secrets_by_key ON secrets (key_id, owner);

  -- Each entry carries the hash of all before it (audit.ts says how); entries of version 1 have none and are covered
  -- by the first that has.
  ALTER TABLE audit ADD COLUMN hash TEXT;
  `,
  `
  -- What the runs of each connector have come to, taken together: one over some streams says nothing of the others.
  CREATE TABLE standings (
    connector         TEXT PRIMARY KEY REFERENCES connectors (name) ON DELETE CASCADE,
    queued_at         INTEGER,
    finished_at       INTEGER,
    behind            TEXT NOT NULL CHECK (json_valid(behind)),
    error             TEXT,
    whole_queued_at   INTEGER,
    whole_finished_at INTEGER
  ) STRICT, WITHOUT ROWID;
  -- Of what has run so far, the newest run that ended says what is behind, as it did until now.
  INSERT INTO standings
    SELECT name,
      CASE WHEN last.only_streams IS NULL AND last.status <> 'failed' THEN last.queued_at ELSE whole.queued_at END,
      CASE WHEN last.only_streams IS NULL AND last.status <> 'failed' THEN last.finished_at ELSE whole.finished_at END,
      (SELECT json_group_array(json_object('stream', value ->> '$.stream', 'error', json(value -> '$.error')))
        FROM json_each(last.streams) WHERE value ->> '$.status' <> 'succeeded'),
      last.error, whole.queued_at, whole.finished_at
    FROM connectors
    JOIN runs AS last ON last.run_id = (SELECT run_id FROM runs WHERE connector = name AND skipped = 0
      AND status IN ('succeeded', 'partial', 'failed') ORDER BY run_id DESC LIMIT 1)
    LEFT JOIN runs AS whole ON whole.run_id = (SELECT run_id FROM runs WHERE connector = name AND status = 'succeeded'
      AND only_streams IS NULL ORDER BY run_id DESC LIMIT 1);

  -- Since when a connector has the schedule that it has, and is on; null of entries from before this was kept.
  ALTER TABLE schedules ADD COLUMN scheduled_at INTEGER;
  DROP TRIGGER connectors_scheduled;
  CREATE TRIGGER connectors_scheduled AFTER INSERT ON connectors WHEN NEW.enabled = 1 AND NEW.schedule IS NOT NULL BEGIN
    INSERT INTO schedules (connector, start_at, scheduled_at) VALUES (NEW.name, NEW.updated_at, NEW.updated_at);
  END;
  DROP TRIGGER connectors_rescheduled;
  CREATE TRIGGER connectors_rescheduled AFTER UPDATE OF schedule, timezone, enabled ON connectors
  WHEN OLD.schedule IS NOT NEW.schedule OR OLD.timezone IS NOT NEW.timezone OR OLD.enabled <> NEW.enabled BEGIN
    DELETE FROM schedules WHERE connector = NEW.name;
    INSERT INTO schedules (connector, start_at, scheduled_at)
      SELECT NEW.name, NEW.updated_at, NEW.updated_at WHERE NEW.enabled = 1 AND NEW.schedule IS NOT NULL;
  END;
  `,
];
