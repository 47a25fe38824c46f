import { checkServerIdentity } from 'node:tls';
import pg from 'pg';
import { MillraceError } from '../../core/errors.ts';
import { cancelled } from '../sql/pool.ts';
import { CheckedSocket } from '../sql/socket.ts';
import { classify } from './classify.ts';
import type { Settings } from './config.ts';
import { CopyOut, type CopySocket } from './copy.ts';
import { sendCancel } from './socket.ts';

/** A row as the server prints it: text or NULL, in the order of the SELECT list. */
export type TextRow = readonly (string | null)[];

/** A column of a result, by the catalogue's oids. `table` and `attribute` are 0 for what is computed. */
export interface Field {
  readonly name: string;
  readonly type: number;
  readonly modifier: number;
  readonly table: number;
  readonly attribute: number;
}

export interface SessionOptions {
  readonly assertHost?: ((host: string, port: number) => void) | undefined;
}

/** Beyond the server's own timeout, for an answer that is on its way. */
const graceMs = 5_000;
/** How long a transaction of ours may sit idle, e.g. while the reader waits for a disk: never for ever. */
const idleInTransactionMs = 600_000;
const lockTimeoutMs = 15_000;
/** PostgreSQL 17 lets a role limit whole transactions; a reading is one, and takes its time. */
export const transactionTimeoutSince = 170_000;

/**
 * One connection to a server, set up so that every text it prints means the same whatever the role's or the
 * server's own settings are, and so that it cannot write. Everything it throws is a MillraceError.
 */
export class Session {
  readonly #client: pg.Client;
  readonly #settings: Settings;
  #broken: Error | null = null;
  /** As in `server_version_num`: 180004. */
  version = 0;
  serverVersion = '';
  serverEncoding = '';
  /** Whether the bytes are encrypted. */
  readonly encrypted: boolean;

  private constructor(client: pg.Client, settings: Settings, encrypted: boolean) {
    this.#client = client;
    this.#settings = settings;
    this.encrypted = encrypted;
    client.on('error', (error) => {
      this.#broken ??= error;
    });
  }

  /** Connects as the settings say. With `prefer`, without TLS when the server cannot or will not. */
  static async open(settings: Settings, options: SessionOptions, signal: AbortSignal): Promise<Session> {
    options.assertHost?.(settings.host, settings.port);
    const tls = tlsOptions(settings);
    try {
      return await Session.#connect(settings, tls, signal);
    } catch (error) {
      const known = explained(error, settings, signal);
      if (settings.ssl !== 'prefer' || known.code !== 'tls_failed') throw known;
      return await Session.#connect(settings, false, signal).catch((plain: unknown) => {
        throw explained(plain, settings, signal);
      });
    }
  }

  static async #connect(settings: Settings, ssl: TlsOptions, signal: AbortSignal): Promise<Session> {
    signal.throwIfAborted();
    const socket = new CheckedSocket();
    const client = new pg.Client({
      host: settings.host,
      port: settings.port,
      database: settings.database,
      user: settings.username,
      // As a function it is asked for once and not kept, and the driver looks neither into PGPASSWORD nor ~/.pgpass.
      password: () => settings.password,
      application_name: 'millrace',
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      ssl,
      stream: () => socket,
    });
    forgetEnvironment(client);
    const session = new Session(client, settings, ssl !== false);
    const stop = (): void => session.destroy();
    let expired = false;
    const timer = setTimeout(() => {
      expired = true;
      session.destroy();
    }, settings.connectTimeoutMs);
    signal.addEventListener('abort', stop, { once: true });
    try {
      await client.connect();
      await session.#setUp();
      return session;
    } catch (error) {
      session.destroy();
      if (expired)
        throw Object.assign(new Error('connection timeout', { cause: error }), {
          code: 'MILLRACE_CONNECT_TIMEOUT',
        });
      throw error;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
    }
  }

  async #setUp(): Promise<void> {
    await this.#client.query(sessionSql(this.#settings));
    const shown = await this.#client.query<{ num: string; version: string; encoding: string }>(
      "SELECT current_setting('server_version_num') AS num, current_setting('server_version') AS version, current_setting('server_encoding') AS encoding",
    );
    this.version = Number(shown.rows[0]?.num ?? 0);
    this.serverVersion = shown.rows[0]?.version ?? '';
    this.serverEncoding = shown.rows[0]?.encoding ?? '';
    // Such a server knows nothing of its texts and refuses to call them UTF-8: they come as the bytes they are.
    if (this.serverEncoding === 'SQL_ASCII') await this.#client.query("SET client_encoding = 'SQL_ASCII'");
    // Before 12 the shortest exact form of a float had to be asked for with 3; it printed 17 digits then.
    if (this.version < 120_000) await this.#client.query('SET extra_float_digits = 3');
    if (this.version >= transactionTimeoutSince) await this.#client.query('SET transaction_timeout = 0');
  }

  /** Rows of one statement under the extended protocol, which refuses a second one. Parameters are texts. */
  async query(
    sql: string,
    parameters: readonly (string | null)[] = [],
    options: QueryOptions = {},
  ): Promise<readonly TextRow[]> {
    return (await this.describe(sql, parameters, options)).rows;
  }

  /** The same, with the result's columns. */
  async describe(
    sql: string,
    parameters: readonly (string | null)[] = [],
    options: QueryOptions = {},
  ): Promise<{ readonly rows: readonly TextRow[]; readonly fields: readonly Field[] }> {
    const config = {
      text: sql,
      values: [...parameters],
      rowMode: 'array' as const,
      queryMode: 'extended',
      types: asText,
    };
    const result = await this.#run(() => this.#client.query<(string | null)[]>(config), options);
    return {
      rows: result.rows,
      fields: result.fields.map((field) => ({
        name: field.name,
        type: field.dataTypeID,
        modifier: field.dataTypeModifier,
        table: field.tableID,
        attribute: field.columnID,
      })),
    };
  }

  /** Statements of ours under the simple protocol, in one round trip; nothing from outside may stand in them. */
  async command(sql: string, options: QueryOptions = {}): Promise<void> {
    await this.#run(() => this.#client.query(sql), options);
  }

  /**
   * Work in a transaction that cannot write and is rolled back. Wherever the user's own SQL is run, it must be run
   * in one: the session's default can be switched off by a function in it, a transaction's mode cannot.
   */
  async readOnly<T>(work: () => Promise<T>): Promise<T> {
    await this.command('BEGIN READ ONLY');
    try {
      return await work();
    } finally {
      if (this.usable) await this.command('ROLLBACK');
    }
  }

  /**
   * Starts `COPY (…) TO STDOUT (FORMAT binary)`. The SELECT must have gone through `describe` in the same words:
   * COPY travels under the simple protocol, where a second statement would be carried out.
   */
  copy(select: string, signal: AbortSignal): CopyOut {
    const copy = new CopyOut(`COPY (${select}) TO STDOUT (FORMAT binary)`, {
      stallMs: this.#settings.statementTimeoutMs,
      onStall: () => this.destroy(),
      explain: (error) => this.explain(error, signal),
    });
    this.#client.query(copy);
    return copy;
  }

  /** Our words for what the driver threw. */
  explain(error: unknown, signal?: AbortSignal): MillraceError {
    return explained(error, this.#settings, signal);
  }

  get usable(): boolean {
    return this.#broken === null;
  }

  /** Ends it as the protocol wants. */
  async close(): Promise<void> {
    if (this.#broken) return;
    this.#broken = new Error('closed');
    const ended = this.#client.end().catch(() => {});
    const killer = setTimeout(() => this.#socket().destroy(), 1_000);
    await ended;
    clearTimeout(killer);
  }

  /** Ends it now, whatever it is doing, and asks the server to stop as well. */
  destroy(): void {
    if (this.#broken) return;
    this.#broken = new Error('destroyed');
    const { processID: pid, secretKey: key } = this.#client as unknown as {
      processID: number | null;
      secretKey: number | null;
    };
    if (typeof pid === 'number' && typeof key === 'number') {
      sendCancel({ host: this.#settings.host, port: this.#settings.port, pid, key });
    }
    this.#socket().destroy();
  }

  #socket(): CopySocket {
    return (this.#client as unknown as { connection: { stream: CopySocket } }).connection.stream;
  }

  async #run<T>(work: () => Promise<T>, { signal, timeoutMs }: QueryOptions): Promise<T> {
    const stop = (): void => this.destroy();
    if (signal?.aborted) stop();
    signal?.addEventListener('abort', stop, { once: true });
    let expired = false;
    const timer = setTimeout(
      () => {
        expired = true;
        this.destroy();
      },
      (timeoutMs ?? this.#settings.statementTimeoutMs) + graceMs,
    );
    try {
      return await work();
    } catch (error) {
      if (expired) throw silent(error);
      throw this.explain(error, signal);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
    }
  }
}

export interface QueryOptions {
  readonly signal?: AbortSignal;
  /** For the answer of one statement; the connector's statement timeout when absent. */
  readonly timeoutMs?: number;
}

/** What a server that has gone silent is called, wherever it is noticed. */
function silent(cause?: unknown): MillraceError {
  return new MillraceError('timeout', 'The server stopped answering.', {
    hint: 'Millrace tries again from the last stored position. If statements really take that long, raise statement_timeout_ms of the connector.',
    cause,
  });
}

function explained(error: unknown, settings: Settings, signal?: AbortSignal): MillraceError {
  if (error instanceof MillraceError) return error;
  if (signal?.aborted) return cancelled(signal);
  return (
    classify(error, settings) ??
    new MillraceError('internal', 'Something unexpected happened while talking to the server.', {
      hint: 'The log line with code "internal" on stderr has the cause.',
      cause: error,
    })
  );
}

type TlsOptions = pg.ClientConfig['ssl'] & (false | object);

function tlsOptions({ ssl, ca, host }: Settings): TlsOptions {
  switch (ssl) {
    case 'disable':
      return false;
    case 'prefer':
      return { rejectUnauthorized: false };
    case 'require':
      // As libpq does: an authority that is given is used, though the name is not compared.
      return ca === undefined ? { rejectUnauthorized: false } : { ca, checkServerIdentity: () => undefined };
    case 'verify-ca':
      return { ...(ca === undefined ? {} : { ca }), checkServerIdentity: () => undefined };
    case 'verify-full':
      return {
        ...(ca === undefined ? {} : { ca }),
        checkServerIdentity: (_, certificate) => checkServerIdentity(host, certificate),
      };
    default:
      throw ssl satisfies never;
  }
}

/** The driver fills what we leave open from PGOPTIONS and PGREPLICATION: a connector is what its config says. */
function forgetEnvironment(client: pg.Client): void {
  const { connectionParameters } = client as unknown as { connectionParameters: Record<string, unknown> };
  connectionParameters['options'] = undefined;
  connectionParameters['replication'] = undefined;
}

/** Every value as the server's own text. */
const asText = { getTypeParser: () => (value: string) => value } as unknown as pg.CustomTypesConfig;

/**
 * What makes every text mean the same, whatever the server's, the database's or the role's own settings are. The
 * transaction that reads says it again for itself: behind a pooler it may run in another session.
 */
export const textSettings: readonly string[] = [
  "TimeZone = 'UTC'",
  "DateStyle = 'ISO, YMD'",
  "IntervalStyle = 'postgres'",
  "bytea_output = 'hex'",
  'standard_conforming_strings = on',
  // Compiling a plan of 1,600 columns costs seconds and wins nothing on a plain scan.
  'jit = off',
];

function sessionSql(settings: Settings): string {
  return [
    "client_encoding = 'UTF8'",
    ...textSettings,
    'extra_float_digits = 1',
    'default_transaction_read_only = on',
    `statement_timeout = ${settings.statementTimeoutMs}`,
    `lock_timeout = ${lockTimeoutMs}`,
    `idle_in_transaction_session_timeout = ${idleInTransactionMs}`,
  ]
    .map((setting) => `SET ${setting}`)
    .join('; ');
}
