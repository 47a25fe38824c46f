import { MillraceError } from '../../core/errors.ts';
import { cancelled } from '../sql/pool.ts';
import { classify, type Where } from './classify.ts';
import type { Settings } from './config.ts';
import { openWire, sendKill, serverIdentity, type Wire } from './connect.ts';
import { DescribeCommand, type Field } from './fields.ts';
import { RowStream } from './rows.ts';
import { withValues } from './sql-text.ts';

export type { Field } from './fields.ts';
export { identifier } from './sql-text.ts';

/** A row as the server prints it: text or NULL, in the order of the SELECT list. */
export type TextRow = readonly (string | null)[];

/** What a server is, and how it reads SQL. */
export interface ServerFacts {
  readonly kind: 'mysql' | 'mariadb';
  /** As the server says it: `10.11.6-MariaDB-0+deb12u1`. */
  readonly version: string;
  /** 80403 for 8.4.3, 101106 for 10.11.6. */
  readonly number: number;
  /** Of this session, after our own settings. */
  readonly sqlMode: ReadonlySet<string>;
  /** 0: names of tables differ by case; 1: they are lower case; 2: they do not differ, and keep theirs. */
  readonly lowerCaseTableNames: 0 | 1 | 2;
  readonly connectionId: number;
  /** Whether the bytes are encrypted. */
  readonly ssl: boolean;
  /** The account that the server found for the login, as `CURRENT_USER()` says: `app@10.%`. */
  readonly account: string;
}

export interface SessionOptions {
  readonly assertHost?: ((host: string, port: number) => void) | undefined;
}

export interface QueryOptions {
  readonly signal?: AbortSignal | undefined;
  /** For the answer of one statement; the connector's statement timeout when absent. */
  readonly timeoutMs?: number | undefined;
}

/** Beyond the server's own timeout, for an answer that is on its way. */
const graceMs = 5_000;
/** How long we may be busy elsewhere, e.g. with a slow disk, before the server gives us up: never for ever. */
const patienceSeconds = 3_600;
const lockTimeoutSeconds = 15;

/**
 * One connection to a server, set up so that every text it prints means the same whatever the login's or the server's
 * own settings are, and so that it cannot write. Everything it throws is a MillraceError.
 */
export class Session {
  readonly #wire: Wire;
  readonly #settings: Settings;
  readonly #tls: boolean;
  #server: ServerFacts | null = null;
  #identity = '';
  #broken: Error | null = null;
  /** Statements under way; a silent server is told to stop only when there is one. */
  #working = 0;
  /** The server's own limit for a statement, as it stands. */
  #limitMs = -1;

  private constructor(wire: Wire, settings: Settings, tls: boolean) {
    this.#wire = wire;
    this.#settings = settings;
    this.#tls = tls;
    wire.on('error', (error) => {
      this.#broken ??= error;
    });
  }

  /**
   * Connects as the settings say. With `prefer`, in clear when the server cannot or will not speak TLS: it protects
   * from those who listen, not from those who answer in the server's place.
   */
  static async open(settings: Settings, options: SessionOptions, signal: AbortSignal): Promise<Session> {
    options.assertHost?.(settings.host, settings.port);
    try {
      return await Session.#connect(settings, settings.ssl !== 'disable', signal);
    } catch (error) {
      const known = explained(error, settings, signal);
      if (settings.ssl !== 'prefer' || known.code !== 'tls_failed') throw known;
      return await Session.#connect(settings, false, signal).catch((plain: unknown) => {
        throw explained(plain, settings, signal);
      });
    }
  }

  static async #connect(settings: Settings, tls: boolean, signal: AbortSignal): Promise<Session> {
    signal.throwIfAborted();
    const wire = openWire(settings, tls);
    const session = new Session(wire, settings, tls);
    const stop = (): void => session.destroy();
    let expired = false;
    const timer = setTimeout(() => {
      expired = true;
      session.destroy();
    }, settings.connectTimeoutMs);
    signal.addEventListener('abort', stop, { once: true });
    try {
      await new Promise<void>((settle, fail) => {
        wire.once('error', fail);
        wire.connect((error) => (error ? fail(error) : settle()));
      });
      await session.#setUp();
      return session;
    } catch (error) {
      session.destroy();
      if (expired) throw coded('connection timeout', 'MILLRACE_CONNECT_TIMEOUT', error);
      // What is no server's error and no system's came from taking something apart that MySQL never said.
      if (error instanceof TypeError || error instanceof RangeError)
        throw coded('its greeting cannot be read', 'MILLRACE_NOT_MYSQL', error);
      throw error;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
    }
  }

  async #setUp(): Promise<void> {
    await this.#send('SET NAMES utf8mb4');
    const [row = []] = await this.#send(factsSql);
    const [version, mode, lower, id, account, identity] = row.map((value) => value ?? '') as string[];
    const sqlMode = readingMode(mode ?? '');
    const kind = /mariadb/i.test(version ?? '') ? 'mariadb' : 'mysql';
    await this.#send(`SET SESSION ${sessionSettings(sqlMode).join(', ')}`);
    await this.#send('SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY');
    if (kind === 'mariadb') await this.#send(`SET SESSION idle_transaction_timeout = ${patienceSeconds}`);
    this.#identity = identity ?? '';
    this.#server = {
      kind,
      version: version ?? '',
      number: versionNumber(version ?? ''),
      sqlMode,
      lowerCaseTableNames: Number(lower) as 0 | 1 | 2,
      connectionId: Number(id),
      ssl: this.#tls,
      account: account ?? '',
    };
  }

  /** What the server is. */
  get server(): ServerFacts {
    if (this.#server === null) throw new TypeError('the session is not set up');
    return this.#server;
  }

  get usable(): boolean {
    return this.#broken === null && !this.#wire.stream.destroyed;
  }

  /**
   * Rows of one statement, every value as the server's own text. `?` in our own SQL stands for a value; with SQL of
   * the user's in it there may be none, since a `?` can stand in it for itself.
   */
  async query(
    sql: string,
    values: readonly (string | number | null)[] = [],
    options: QueryOptions = {},
  ): Promise<readonly TextRow[]> {
    return await this.#run(async (limitMs) => {
      await this.#limit(limitMs);
      return await this.#send(withValues(sql, values));
    }, options);
  }

  /** A statement of ours without rows. */
  async command(sql: string, options: QueryOptions = {}): Promise<void> {
    await this.#run(() => this.#send(sql), options);
  }

  /**
   * The columns of a SELECT, without running it. Texts keep the character set they are stored in, which the row's
   * own description no longer shows, since the server converts them.
   */
  async describe(sql: string, options: QueryOptions = {}): Promise<{ readonly fields: readonly Field[] }> {
    return await this.#run(async () => {
      await this.#send('SET character_set_results = NULL');
      try {
        return { fields: await this.#prepared(sql) };
      } finally {
        await this.#send('SET character_set_results = utf8mb4');
      }
    }, options);
  }

  /** Work in a transaction that cannot write and is rolled back. */
  async readOnly<T>(work: () => Promise<T>): Promise<T> {
    await this.command('START TRANSACTION READ ONLY');
    try {
      return await work();
    } finally {
      if (this.usable) await this.command('ROLLBACK');
    }
  }

  /**
   * Starts to read the rows of one SELECT, as a prepared statement: see decode.ts for why. Its rows may come for
   * hours, so it is not the server's clock that watches it: silence is watched here.
   */
  rows(sql: string, signal: AbortSignal): RowStream {
    return new RowStream(sql, {
      begin: async (command) => {
        this.#working += 1;
        await this.#limit(0);
        this.#wire.addCommand(command);
      },
      onEnd: () => {
        this.#working -= 1;
      },
      stallMs: this.#settings.statementTimeoutMs,
      destroy: () => this.destroy(),
      explain: (error) => this.explain(error, signal),
    });
  }

  /** Our words for what the driver threw. */
  explain(error: unknown, signal?: AbortSignal): MillraceError {
    return explained(error, { ...this.#settings, account: this.#server?.account }, signal);
  }

  /** Ends it as the protocol wants. */
  async close(): Promise<void> {
    if (this.#broken) return;
    this.#broken = new Error('closed');
    const { stream } = this.#wire;
    if (stream.destroyed) return;
    await new Promise<void>((settle) => {
      const killer = setTimeout(() => {
        stream.destroy();
        settle();
      }, 1_000);
      // The server closes when it has read our goodbye; before that it would count a client that went away.
      stream.once('close', () => {
        clearTimeout(killer);
        settle();
      });
      this.#wire.end();
    });
  }

  /** Ends it now, whatever it is doing, and asks the server to stop as well. */
  destroy(): void {
    if (this.#broken) return;
    this.#broken = new Error('destroyed');
    this.#wire.stream.destroy();
    if (this.#server === null || this.#working === 0) return;
    sendKill(this.#settings, this.#tls, { id: this.#server.connectionId, server: this.#identity });
  }

  /** Sets how long the server works at a statement; 0 is for ever. */
  async #limit(ms: number): Promise<void> {
    if (ms === this.#limitMs) return;
    await this.#send(
      this.server.kind === 'mariadb'
        ? `SET SESSION max_statement_time = ${ms / 1000}`
        : `SET SESSION max_execution_time = ${ms}`,
    );
    this.#limitMs = ms;
  }

  #prepared(sql: string): Promise<readonly Field[]> {
    return new Promise((settle, fail) => {
      this.#wire.addCommand(new DescribeCommand(sql, settle, fail));
    });
  }

  /** One statement under the text protocol, every value as text. */
  #send(sql: string): Promise<TextRow[]> {
    return new Promise((settle, fail) => {
      this.#wire.query({ sql, rowsAsArray: true, typeCast: asText }, (error, rows) => {
        if (error) fail(error);
        else settle(Array.isArray(rows) ? (rows as unknown as TextRow[]) : []);
      });
    });
  }

  async #run<T>(work: (limitMs: number) => Promise<T>, { signal, timeoutMs }: QueryOptions): Promise<T> {
    const stop = (): void => this.destroy();
    if (signal?.aborted) stop();
    signal?.addEventListener('abort', stop, { once: true });
    const limitMs = timeoutMs ?? this.#settings.statementTimeoutMs;
    let expired = false;
    const timer = setTimeout(() => {
      expired = true;
      this.destroy();
    }, limitMs + graceMs);
    this.#working += 1;
    try {
      return await work(limitMs);
    } catch (error) {
      if (expired) throw silent(error);
      throw this.explain(error, signal);
    } finally {
      this.#working -= 1;
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
    }
  }
}

const factsSql = `SELECT @@version, @@SESSION.sql_mode, @@lower_case_table_names, CONNECTION_ID(), CURRENT_USER(), ${serverIdentity}`;

/**
 * The server's own mode, since a user's query means what its author saw it mean, less what would change or refuse
 * values: padded texts, and dates that are stored but in no calendar.
 */
function readingMode(mode: string): ReadonlySet<string> {
  const kept = mode.split(',').filter((name) => name !== '' && !refusing.has(name));
  return new Set([...kept, 'ALLOW_INVALID_DATES']);
}

const refusing = new Set(['PAD_CHAR_TO_FULL_LENGTH', 'NO_ZERO_DATE', 'NO_ZERO_IN_DATE', 'TRADITIONAL']);

function sessionSettings(sqlMode: ReadonlySet<string>): readonly string[] {
  return [
    "time_zone = '+00:00'",
    `sql_mode = '${[...sqlMode].join(',')}'`,
    // Each of these would leave rows out without a word, or refuse to read many.
    'sql_select_limit = 18446744073709551615',
    'sql_auto_is_null = 0',
    'sql_big_selects = 1',
    'sql_safe_updates = 0',
    `net_write_timeout = ${patienceSeconds}`,
    `net_read_timeout = ${patienceSeconds}`,
    `wait_timeout = ${patienceSeconds}`,
    `lock_wait_timeout = ${lockTimeoutSeconds}`,
    `innodb_lock_wait_timeout = ${lockTimeoutSeconds}`,
  ];
}

function versionNumber(version: string): number {
  const [major = 0, minor = 0, patch = 0] = version.split(/[.-]/).map(Number);
  return major * 10_000 + minor * 100 + (Number.isNaN(patch) ? 0 : patch);
}

/** Everything comes as UTF-8, binary strings of the catalogue included. */
const asText = (field: { buffer(): Buffer | null }): string | null => {
  const bytes = field.buffer();
  return bytes === null ? null : bytes.toString('utf8');
};

/** What a server that has gone silent is called, wherever it is noticed. */
function silent(cause?: unknown): MillraceError {
  return new MillraceError('timeout', 'The server stopped answering.', {
    hint: 'Millrace tries again from the last stored position. If statements really take that long, raise statement_timeout_ms of the connector.',
    cause,
  });
}

function coded(message: string, code: string, cause: unknown): Error {
  return Object.assign(new Error(message, { cause }), { code });
}

function explained(error: unknown, where: Where, signal?: AbortSignal): MillraceError {
  if (error instanceof MillraceError) return error;
  if (signal?.aborted) return cancelled(signal);
  return (
    classify(error, where) ??
    new MillraceError('internal', 'Something unexpected happened while talking to the server.', {
      hint: 'The log line with code "internal" on stderr has the cause.',
      cause: error,
    })
  );
}
