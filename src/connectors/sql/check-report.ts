/** What a check reports in the same way for every SQL database: how far the connection came, and each stream. */

import { MillraceError } from '../../core/errors.ts';
import type { Check, CheckReport, ResolvedStream, Stream } from '../../core/model.ts';
import { plain } from './names.ts';

/** Where a connector goes, as far as a report says it. */
export interface Target {
  readonly host: string;
  readonly port: number;
  readonly username: string;
  readonly database: string;
}

const loggedIn = ({ username, database }: Target): string =>
  `${plain(username, 63)} in database ${plain(database, 63)}`;

/** How far the connection came, told by the failure's code. */
export function notConnected(target: Target, error: unknown, ms: number): CheckReport {
  const failure =
    error instanceof MillraceError
      ? error
      : new MillraceError('internal', 'The check itself failed.', {
          hint: 'The log has the cause.',
          cause: error,
        });
  const place = `${target.host}:${target.port}`;
  const stages = [
    {
      name: 'reach',
      codes: ['host_unreachable', 'host_not_allowed', 'timeout', 'internal'],
      detail: `${place} answers`,
    },
    { name: 'tls', codes: ['tls_failed'], detail: 'the encryption asked for was agreed' },
    { name: 'login', codes: null, detail: loggedIn(target) },
  ];
  const checks: Check[] = [];
  for (const { name, codes, detail } of stages) {
    const failed = codes === null || codes.includes(failure.code);
    checks.push({
      name,
      ok: !failed,
      detail: failed ? failure.message : detail,
      ms: failed ? Math.round(ms) : 0,
    });
    if (failed) break;
  }
  return { ok: false, checks, warnings: [], error: failure.toView() };
}

/** The stages of a connection that was made. */
export function connected(
  target: Target,
  found: { readonly tls: string; readonly version: string },
  ms: { readonly connect: number; readonly latency: number },
): readonly Check[] {
  const place = `${target.host}:${target.port}`;
  return [
    { name: 'reach', ok: true, detail: `${place} answers`, ms: Math.round(ms.connect) },
    { name: 'tls', ok: true, detail: found.tls, ms: 0 },
    { name: 'login', ok: true, detail: loggedIn(target), ms: 0 },
    { name: 'version', ok: true, detail: found.version, ms: Math.round(ms.latency) },
  ];
}

/** A session, as far as checking streams needs it. */
export interface CheckSession {
  readonly usable: boolean;
  explain(error: unknown, signal?: AbortSignal): MillraceError;
}

/** Resolves every stream as a run would. Throws only when the check was cancelled. */
export async function streamChecks(
  session: CheckSession,
  work: { readonly streams: readonly Stream[]; resolve(stream: Stream): Promise<ResolvedStream> },
  signal: AbortSignal,
): Promise<{ readonly checks: readonly Check[]; readonly error: MillraceError | undefined }> {
  const checks: Check[] = [];
  let error: MillraceError | undefined;
  for (const stream of work.streams) {
    const startedAt = performance.now();
    const name = `stream ${stream.name}`;
    try {
      const resolved = await work.resolve(stream);
      const detail = `${resolved.columns.length} columns, mode ${resolved.mode}`;
      checks.push({ name, ok: true, detail, ms: Math.round(performance.now() - startedAt) });
    } catch (failure) {
      const known = session.explain(failure, signal);
      if (signal.aborted) throw known;
      error ??= known;
      checks.push({ name, ok: false, detail: known.message, ms: Math.round(performance.now() - startedAt) });
      if (!session.usable) break;
    }
  }
  return { checks, error };
}

const clockSkewMaxMs = 5_000;

/** How far the server's clock, as it was between two moments of ours, is ahead of ours at the least; 0 when it does not say. */
export function clockSkewMs(serverMs: number, askedAt: number, answeredAt: number): number {
  const skewMs = serverMs - (askedAt + answeredAt) / 2;
  const doubtMs = (answeredAt - askedAt) / 2;
  return Math.abs(skewMs) > doubtMs ? Math.round(skewMs - Math.sign(skewMs) * doubtMs) : 0;
}

/** What is said when the server's clock is far from ours; empty when it is not. */
export function clockWarnings(skewMs: number): readonly string[] {
  if (Math.abs(skewMs) <= clockSkewMaxMs) return [];
  const seconds = Math.abs(Math.round(skewMs / 1000));
  return [`The server's clock is ${seconds} s ${skewMs > 0 ? 'ahead of' : 'behind'} this machine's.`];
}

/** Some names in a sentence: at most five of them. */
export function listed(names: readonly string[]): string {
  return names.slice(0, 5).join(', ') + (names.length > 5 ? ` and ${names.length - 5} more` : '');
}
