import type { CheckReport, ResolvedStream, Stream } from '../../core/model.ts';
import { clockWarnings, connected, notConnected, streamChecks } from '../sql/check-report.ts';
import { plain } from '../sql/names.ts';
import type { Settings } from './config.ts';
import type { SessionPool } from './pool.ts';
import { resolveOver } from './resolve.ts';
import { clockSkewOf, serverWarnings } from './server-warnings.ts';
import type { Session } from './session.ts';
import { carriesSql, databasesOf, loadShape } from './shape.ts';
import { type Resolved, streamWarnings } from './stream-warnings.ts';

interface CheckContext {
  readonly settings: Settings;
  readonly pool: SessionPool;
}

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
    const connectMs = performance.now() - startedAt;
    const report = await inspect({ settings: context.settings, session, signal, connectMs }, streams);
    // Locks outlive a rollback, and SQL of the user's own may have taken some.
    reuse = !streams.some(carriesSql);
    return report;
  } finally {
    context.pool.release(session, reuse);
  }
}

interface Inspection {
  readonly settings: Settings;
  readonly session: Session;
  readonly signal: AbortSignal;
  readonly connectMs: number;
}

async function inspect(
  { settings, session, signal, connectMs }: Inspection,
  streams: readonly Stream[],
): Promise<CheckReport> {
  const pingedAt = performance.now();
  await session.query('SELECT 1', [], { signal });
  const latencyMs = performance.now() - pingedAt;
  const skewMs = await clockSkewOf({ session, signal });
  const warnings = [...(await serverWarnings({ session, signal }, streams)), ...clockWarnings(skewMs)];
  const resolved: Resolved[] = [];
  const context = {
    session,
    databases: databasesOf(settings, session.server),
    zeroDates: settings.zeroDates,
    signal,
  };
  const resolve = (declared: Stream): Promise<ResolvedStream> =>
    session.readOnly(async () => {
      const shape = await loadShape(context, declared);
      const stream = await resolveOver(context, declared, shape);
      resolved.push({ stream, shape });
      return stream;
    });
  const { checks, error } = await streamChecks(session, { streams, resolve }, signal);
  if (session.usable) warnings.push(...(await streamWarnings({ session, signal }, resolved, settings)));
  return {
    ok: error === undefined,
    checks: [
      ...connected(
        settings,
        { tls: await encryption({ session, signal }, settings), version: serverName(session) },
        { connect: connectMs, latency: latencyMs },
      ),
      ...checks,
    ],
    server_version: plain(session.server.version, 60),
    latency_ms: Math.round(latencyMs * 10) / 10,
    clock_skew_ms: skewMs,
    warnings,
    ...(error === undefined ? {} : { error: error.toView() }),
  };
}

function serverName({ server }: Session): string {
  const { kind, version } = server;
  return kind === 'mariadb'
    ? `MariaDB ${plain(version.replace(/-?MariaDB-?/i, ' '), 60)}`
    : `MySQL ${plain(version, 60)}`;
}

/** Whether the connection is encrypted, how, and what it is worth. */
async function encryption(
  { session, signal }: Pick<Inspection, 'session' | 'signal'>,
  { ssl }: Settings,
): Promise<string> {
  if (!session.server.ssl) {
    return ssl === 'prefer'
      ? 'the connection is not encrypted: the server offers no TLS, and "ssl": "prefer" goes on without'
      : 'the connection is not encrypted';
  }
  const [row] = session.usable ? await session.query("SHOW STATUS LIKE 'Ssl_version'", [], { signal }) : [];
  const version = row?.[1] ? ` (${plain(row[1], 20)})` : '';
  const checked = {
    'verify-full': 'who answers is checked',
    'verify-ca': 'who signed its certificate is checked, its host name is not',
    require: 'who answers is not checked: "verify-full" does that',
    prefer: 'who answers is not checked, and "prefer" would go on without TLS: "verify-full" does neither',
    disable: '',
  }[ssl];
  return `the connection is encrypted${version}; ${checked}`;
}
