import { MillraceError } from '../core/errors.ts';
import { sqliteCode } from '../sqlite.ts';

/**
 * What SQLite throws, as ours: `disk_full`, or `data_dir_unusable` with what mends it. Anything else (a constraint,
 * a mistake in our SQL) is returned as it came, for the caller to know or for `internal`.
 */
export function asStoreError(error: unknown, file: string): unknown {
  const code = sqliteCode(error);
  if (code === '') return error;
  if (code === 'SQLITE_FULL') {
    return new MillraceError('disk_full', `No space is left to write ${file}.`, {
      hint: `Free space on that disk (\`df -h\` shows it), then call again; nothing was changed.`,
      cause: error,
    });
  }
  if (code === 'SQLITE_CONSTRAINT_TRIGGER' && (error as Error).message === KEY_RETIRED) {
    return new MillraceError(
      'secret_refused',
      'The master key was rotated while the secret was being sealed.',
      {
        hint: 'Call again: it is sealed by the new key then; nothing was changed.',
        who: 'assistant',
        cause: error,
      },
    );
  }
  const trouble = TROUBLES.find(({ prefix }) => code.startsWith(prefix));
  if (!trouble) return error;
  return new MillraceError('data_dir_unusable', `${file} ${trouble.what} (${code}).`, {
    hint: trouble.hint,
    cause: error,
  });
}

/** What the triggers on `secrets` say (migrations.ts). */
const KEY_RETIRED = 'key retired';

const TROUBLES = [
  {
    prefix: 'SQLITE_BUSY',
    what: 'is held by another program',
    hint: 'Close the program that keeps the file in a transaction (a SQLite browser?), then call again; nothing was changed.',
  },
  {
    prefix: 'SQLITE_READONLY',
    what: 'cannot be written',
    hint: 'Give this user write permission on the file and its folder, or start with `--data-dir` naming a folder that it owns.',
  },
  {
    prefix: 'SQLITE_CANTOPEN',
    what: 'cannot be opened',
    hint: 'Give this user permission on the file and its folder, or start with `--data-dir` naming a folder that it owns.',
  },
  {
    prefix: 'SQLITE_NOTADB',
    what: 'is not a database',
    hint: 'Move that file away, or start with `--data-dir` naming another folder; a new store is made then.',
  },
  {
    prefix: 'SQLITE_CORRUPT',
    what: 'is damaged',
    hint: 'Put a backup of the file in its place, or move it away and register the connectors again; landed data is in warehouse.db and is not touched.',
  },
  {
    prefix: 'SQLITE_IOERR',
    what: 'could not be read or written',
    hint: 'Look for a full or failing disk (`df -h`, the system log); the data folder has to be on a local disk, not on a network share.',
  },
] as const;
