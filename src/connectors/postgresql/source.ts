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
import type { Value } from '../../core/types.ts';
import type { Reading, Source } from '../connector.ts';
import { changedMeanwhile } from '../sql/plan.ts';
import { checkSource } from './check.ts';
import { type PostgresConfig, type Settings, settingsOf } from './config.ts';
import { discoverStreams } from './discover.ts';
import { type Guard, lateCommitGuard } from './guard.ts';
import { SessionPool } from './pool.ts';
import { previewRows } from './preview.ts';
import { openReading } from './read.ts';
import { resolveOver } from './resolve.ts';
import type { Session } from './session.ts';
import { carriesSql, loadShape, type Shape } from './shape.ts';
import type { TypeCache } from './types.ts';

export interface PostgresSourceOptions {
  readonly assertHost?: ((host: string, port: number) => void) | undefined;
  /** The late-commit guard; the real one when absent. */
  readonly guard?: Guard | undefined;
}

/** An opened PostgreSQL connector. Nothing connects before the first question. */
export function openPostgres(config: PostgresConfig, options: PostgresSourceOptions = {}): Source {
  return new PostgresSource(settingsOf(config), options);
}

class PostgresSource implements Source {
  readonly #settings: Settings;
  readonly #options: PostgresSourceOptions;
  readonly #pool: SessionPool;
  readonly #types: TypeCache = new Map();

  constructor(settings: Settings, options: PostgresSourceOptions) {
    this.#settings = settings;
    this.#options = options;
    this.#pool = new SessionPool(settings, { assertHost: options.assertHost });
  }

  check(streams: readonly Stream[], signal: AbortSignal): Promise<CheckReport> {
    return checkSource({ settings: this.#settings, pool: this.#pool, types: this.#types }, streams, signal);
  }

  discover(
    request: PageRequest & { readonly search?: string },
    signal: AbortSignal,
  ): Promise<Page<StreamInfo>> {
    return this.#pool.use(signal, (session) =>
      discoverStreams({ session, types: this.#types, schemas: this.#settings.schemas, signal }, request),
    );
  }

  async resolve(stream: Stream, signal: AbortSignal): Promise<ResolvedStream> {
    const { schemas, username } = this.#settings;
    const contextOf = (session: Session) => ({ session, types: this.#types, schemas, username, signal });
    let shape: Shape | undefined;
    try {
      return await this.#ask(stream, signal, async (session) => {
        shape = await loadShape(contextOf(session), stream);
        return await resolveOver(contextOf(session), stream, shape);
      });
    } catch (error) {
      const seen = shape;
      if (seen === undefined || !(error instanceof MillraceError) || error.code !== 'not_found_at_source')
        throw error;
      // A transaction that failed answers nothing more: the second look has one of its own.
      throw await this.#ask(stream, signal, (session) =>
        changedMeanwhile(seen.columns, () => loadShape(contextOf(session), stream), error),
      ).catch(() => error);
    }
  }

  preview(
    stream: ResolvedStream,
    limit: number,
    signal: AbortSignal,
  ): Promise<readonly (readonly Value[])[]> {
    const { schemas } = this.#settings;
    return this.#ask(stream.declared, signal, (session) =>
      previewRows({ session, types: this.#types, schemas, signal }, stream, limit),
    );
  }

  /** A question about one stream: in a transaction that cannot write, and in a session of its own when it brings SQL. */
  #ask<T>(stream: Stream, signal: AbortSignal, work: (session: Session) => Promise<T>): Promise<T> {
    return this.#pool.use(signal, (session) => session.readOnly(() => work(session)), !carriesSql(stream));
  }

  read(stream: ResolvedStream, from: Cursor | null, signal: AbortSignal): Promise<Reading> {
    const guard = this.#options.guard ?? lateCommitGuard;
    return openReading(
      { pool: this.#pool, types: this.#types, schemas: this.#settings.schemas, guard, signal },
      stream,
      from,
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#pool[Symbol.asyncDispose]();
  }
}
