import type { CheckReport, Stream } from '../../core/model.ts';
import {
  clockSkewMs,
  clockWarnings,
  connected,
  listed,
  notConnected,
  streamChecks,
} from '../sql/check-report.ts';
import { plain } from '../sql/names.ts';
import type { Settings } from './config.ts';
import type { SessionPool } from './pool.ts';
import { resolveStream } from './resolve.ts';
import type { Session } from './session.ts';
import { carriesSql } from './shape.ts';
import type { TypeCache } from './types.ts';

interface CheckContext {
  readonly settings: Settings;
  readonly pool: SessionPool;
  readonly types: TypeCache;
}

const oldestVersion = 120_000;

/**
 * Reaches, logs in, and resolves every declared stream as a run would. What is wrong with the source is the
 * report; only a cancelled check throws. Changes nothing, moves no cursor.
 */
export async function checkSource(
  context: CheckContext,
  streams: readonly Stream[],
  signal: AbortSignal,
): Promise<CheckReport> {
  const startedAt = performance.now();
  let session: Session;
  try {
    session = await context.pool.acquire(signal);
  } catch (error) {
    if (signal.aborted) throw error;
    return notConnected(context.settings, error, performance.now() - startedAt);
  }
  let reuse = false;
  try {
    const report = await inspect({ ...context, session, signal }, streams, performance.now() - startedAt);
    // Locks outlive a rollback, and SQL of the user's own may have taken some.
    reuse = !streams.some(carriesSql);
    return report;
  } finally {
    context.pool.release(session, reuse);
  }
}

interface Inspection extends CheckContext {
  readonly session: Session;
  readonly signal: AbortSignal;
}

async function inspect(
  context: Inspection,
  streams: readonly Stream[],
  connectMs: number,
): Promise<CheckReport> {
  const { session, settings, signal } = context;
  const pingedAt = performance.now();
  await session.query('SELECT 1', [], { signal });
  const latencyMs = performance.now() - pingedAt;
  const server = await inspectServer(context);
  const warnings = [...server.warnings];
  const inSession = {
    session,
    types: context.types,
    schemas: settings.schemas,
    username: settings.username,
    signal,
  };
  const found = await streamChecks(
    session,
    { streams, resolve: (stream) => session.readOnly(() => resolveStream(inSession, stream)) },
    signal,
  );
  const { error } = found;
  if (session.usable) warnings.push(...(await tableWarnings(context, streams)));
  return {
    ok: error === undefined,
    checks: [
      ...connected(
        settings,
        {
          tls: session.encrypted ? 'the connection is encrypted' : 'the connection is not encrypted',
          version: `PostgreSQL ${plain(session.serverVersion, 60)}`,
        },
        { connect: connectMs, latency: latencyMs },
      ),
      ...found.checks,
    ],
    server_version: plain(session.serverVersion, 60),
    latency_ms: Math.round(latencyMs * 10) / 10,
    clock_skew_ms: server.skewMs,
    warnings,
    ...(error === undefined ? {} : { error: error.toView() }),
  };
}

async function inspectServer({
  session,
  settings,
  signal,
}: Inspection): Promise<{ readonly warnings: readonly string[]; readonly skewMs: number }> {
  const askedAt = Date.now();
  const [row] = await session.query(
    `SELECT pg_catalog.current_setting('is_superuser'), pg_catalog.pg_is_in_recovery(),
       (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000)::bigint,
       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'),
       pg_catalog.current_setting('server_encoding')`,
    [],
    { signal },
  );
  const answeredAt = Date.now();
  const [superuser, standby, serverMs, mayCreate, encoding] = row ?? [];
  const role = plain(settings.username, 63);
  const warnings: string[] = [];
  if (superuser === 'on') {
    warnings.push(
      `"${role}" is a superuser. Millrace only reads, but a role that can only read is safer: CREATE ROLE millrace LOGIN PASSWORD '…'; GRANT pg_read_all_data TO millrace; (PostgreSQL 14 or later)`,
    );
  } else if (mayCreate === 't') {
    warnings.push(`"${role}" may create schemas in this database; reading needs no more than SELECT.`);
  }
  if (session.version < oldestVersion) {
    warnings.push(
      `PostgreSQL ${plain(session.serverVersion, 40)} is older than what Millrace is tested with (12 and later).`,
    );
  }
  if (standby === 't') {
    warnings.push(
      'This server is a standby: it does not show open transactions of the primary, so a look-back window guards against late commits instead.',
    );
  }
  const skewMs = clockSkewMs(Number(serverMs), askedAt, answeredAt);
  warnings.push(...clockWarnings(skewMs));
  if (encoding === 'SQL_ASCII') {
    warnings.push('The database is SQL_ASCII: texts that are not UTF-8 land as their bytes.');
  }
  return { warnings, skewMs };
}

const tablesMax = 1_000;

/** Tables that the login could also change, or of which it does not see every row. */
async function tableWarnings(
  { session, signal }: Inspection,
  streams: readonly Stream[],
): Promise<readonly string[]> {
  const tables = streams.flatMap(({ table }) => (table === undefined ? [] : [table])).slice(0, tablesMax);
  const found: { readonly name: string; readonly writes: boolean; readonly filtered: boolean }[] = [];
  for (const table of tables) {
    const [row] = await session
      .query(
        `SELECT pg_catalog.has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE'), pg_catalog.row_security_active(c.oid)
         FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass($1)
           AND pg_catalog.current_setting('is_superuser') = 'off'`,
        [table],
        { signal },
      )
      .catch(() => []);
    if (row) found.push({ name: plain(table, 130), writes: row[0] === 't', filtered: row[1] === 't' });
  }
  const names = (of: typeof found): string => listed(of.map(({ name }) => name));
  const writable = found.filter(({ writes }) => writes);
  const filtered = found.filter((entry) => entry.filtered);
  return [
    ...(writable.length > 0
      ? [`The login may also change ${names(writable)}; reading needs no more than SELECT.`]
      : []),
    ...(filtered.length > 0
      ? [`Row-level security decides which rows of ${names(filtered)} the login sees: others will not land.`]
      : []),
  ];
}
