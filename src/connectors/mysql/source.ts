import { MillraceError } from '../../core/errors.ts';
import type {
  CheckReport,
  Cursor,
  Page,
  PageRequest,
  ResolvedStream,
  Stream,
  StreamInfo,
} from '../../core/model.ts';
import type { Column, Value } from '../../core/types.ts';
import type { Reading, Source } from '../connector.ts';
import { changedMeanwhile } from '../sql/plan.ts';
import { checkSource } from './check.ts';
import { type MysqlConfig, type Settings, settingsOf } from './config.ts';
import { discoverStreams } from './discover.ts';
import { type Guard, lateCommitGuard } from './guard.ts';
import { dateColumns, OddDates } from './odd-dates.ts';
import { SessionPool } from './pool.ts';
import { previewRows } from './preview.ts';
import { openReading } from './read.ts';
import { type ResolveContext, resolveOver } from './resolve.ts';
import type { Session } from './session.ts';
import { carriesSql, databasesOf, loadShape, type Shape } from './shape.ts';
import { type Pace, usualPace } from './snapshot.ts';

export interface MysqlSourceOptions {
  readonly assertHost?: ((host: string, port: number) => void) | undefined;
  /** The late-commit guard; the real one when absent. */
  readonly guard?: Guard | undefined;
  /** How long snapshots may stay open; the usual time when absent. */
  readonly pace?: Pace | undefined;
}

/** An opened connector to MySQL or MariaDB. Nothing connects before the first question. */
export function openMysql(config: MysqlConfig, options: MysqlSourceOptions = {}): Source {
  return new MysqlSource(settingsOf(config), options);
}

class MysqlSource implements Source {
  readonly #settings: Settings;
  readonly #options: MysqlSourceOptions;
  readonly #pool: SessionPool;

  constructor(settings: Settings, options: MysqlSourceOptions) {
    this.#settings = settings;
    this.#options = options;
    this.#pool = new SessionPool(settings, { assertHost: options.assertHost });
  }

  judge(columns: readonly Column[]): (values: Value[]) => string | null {
    const dates = dateColumns(columns);
    const policy = new OddDates(this.#settings.zeroDates);
    return (values) => policy.judge(dates, values, 0);
  }

  check(streams: readonly Stream[], signal: AbortSignal): Promise<CheckReport> {
    return checkSource({ settings: this.#settings, pool: this.#pool }, streams, signal);
  }

  discover(
    request: PageRequest & { readonly search?: string },
    signal: AbortSignal,
  ): Promise<Page<StreamInfo>> {
    return this.#pool.use(signal, (session) => discoverStreams(this.#contextOf(session, signal), request));
  }

  async resolve(stream: Stream, signal: AbortSignal): Promise<ResolvedStream> {
    let shape: Shape | undefined;
    try {
      return await this.#ask(stream, signal, async (session) => {
        const context = this.#contextOf(session, signal);
        shape = await loadShape(context, stream);
        return await resolveOver(context, stream, shape);
      });
    } catch (error) {
      const seen = shape;
      if (seen === undefined || !(error instanceof MillraceError) || error.code !== 'not_found_at_source')
        throw error;
      throw await this.#ask(stream, signal, (session) =>
        changedMeanwhile(seen.columns, () => loadShape(this.#contextOf(session, signal), stream), error),
      ).catch(() => error);
    }
  }

  preview(
    stream: ResolvedStream,
    limit: number,
    signal: AbortSignal,
  ): Promise<readonly (readonly Value[])[]> {
    return this.#ask(stream.declared, signal, (session) =>
      previewRows(this.#contextOf(session, signal), stream, limit),
    );
  }

  #contextOf(session: Session, signal: AbortSignal): ResolveContext {
    const databases = databasesOf(this.#settings, session.server);
    return { session, databases, zeroDates: this.#settings.zeroDates, signal };
  }

  /** A question about one stream: in a transaction that cannot write, and in a session of its own when it brings SQL. */
  #ask<T>(stream: Stream, signal: AbortSignal, work: (session: Session) => Promise<T>): Promise<T> {
    return this.#pool.use(signal, (session) => session.readOnly(() => work(session)), !carriesSql(stream));
  }

  read(stream: ResolvedStream, from: Cursor | null, signal: AbortSignal): Promise<Reading> {
    return openReading(
      {
        pool: this.#pool,
        settings: this.#settings,
        guard: this.#options.guard ?? lateCommitGuard,
        pace: this.#options.pace ?? usualPace,
        signal,
      },
      stream,
      from,
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#pool[Symbol.asyncDispose]();
  }
}
