import type BetterSqlite from 'better-sqlite3';

/**
 * Which SQLite libraries there are. better-sqlite3 has the store and users' queries wherever it can be loaded: an install
 * by npm always has it. A `.mcpb` bundle has not, because macOS lets no foreign `.node` file in (modelcontextprotocol/mcpb#229),
 * and on some platforms it has no binary; Node's own takes its place there. What is found is the same for all that one
 * installation starts, so a file still has one library in each process.
 */
export async function betterSqlite(): Promise<typeof BetterSqlite | null> {
  better ??= loadBetter();
  return await better;
}

let better: Promise<typeof BetterSqlite | null> | undefined;

async function loadBetter(): Promise<typeof BetterSqlite | null> {
  try {
    const { default: Library } = await import('better-sqlite3');
    // Its binary is loaded by the first handle, not by the import.
    new Library(':memory:').close();
    return Library;
  } catch {
    return null;
  }
}

/** Node's own library, without the line on stderr by which Node 22 says that it is new there: stderr is for log lines. */
export function nodeSqlite(): typeof import('node:sqlite') {
  node ??= loadNode();
  return node;
}

let node: typeof import('node:sqlite') | undefined;

function loadNode(): typeof import('node:sqlite') {
  const { emitWarning } = process;
  process.emitWarning = () => undefined;
  try {
    return process.getBuiltinModule('node:sqlite');
  } finally {
    process.emitWarning = emitWarning;
  }
}

/** SQLite's own name of an error, whichever library throws it; `''` when it is none of SQLite's. */
export function sqliteCode(error: unknown): string {
  const { errcode, code } = (error ?? {}) as { readonly errcode?: unknown; readonly code?: unknown };
  // The lowest byte; the others say more about it (https://sqlite.org/rescode.html).
  if (typeof errcode === 'number')
    return codes[errcode] ?? codes[errcode & 0xff] ?? `SQLITE_${errcode & 0xff}`;
  return typeof code === 'string' && code.startsWith('SQLITE_') ? code : '';
}

const codes: Readonly<Record<number, string>> = {
  1: 'SQLITE_ERROR',
  5: 'SQLITE_BUSY',
  6: 'SQLITE_LOCKED',
  7: 'SQLITE_NOMEM',
  8: 'SQLITE_READONLY',
  9: 'SQLITE_INTERRUPT',
  10: 'SQLITE_IOERR',
  11: 'SQLITE_CORRUPT',
  13: 'SQLITE_FULL',
  14: 'SQLITE_CANTOPEN',
  17: 'SQLITE_SCHEMA',
  18: 'SQLITE_TOOBIG',
  19: 'SQLITE_CONSTRAINT',
  20: 'SQLITE_MISMATCH',
  21: 'SQLITE_MISUSE',
  26: 'SQLITE_NOTADB',
  1811: 'SQLITE_CONSTRAINT_TRIGGER',
};
