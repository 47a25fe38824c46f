import { MillraceError } from '../../core/errors.ts';
import type { Batch, Cursor, ResolvedStream } from '../../core/model.ts';
import type { Value } from '../../core/types.ts';
import type { Agreement, Reading } from '../connector.ts';
import { plain } from '../sql/names.ts';
import { boundParams, kindOfText, startAs, startMark } from './bounds.ts';
import { wantedOf } from './choose.ts';
import { guardText } from './guard.ts';
import { endPage, nothingSeen, type SeenMarks, seeMark, settledMark } from './high-mark.ts';
import { createRowMaker, type RowMaker } from './infer.ts';
import { kindOfColumn } from './kinds.ts';
import { type ListsContext, type Place, type ReadEvent, readLists } from './lists.ts';
import type { LookedPage } from './looked.ts';
import {
  compareMarks,
  countedMs,
  lowerBound,
  type Mark,
  type MarkKind,
  markAt,
  markKind,
  markOf,
} from './marks.ts';
import type { StreamPlan } from './plan.ts';
import { asPlain, type Run, usablePosition, writePosition } from './position.ts';
import { createRepeats } from './repeats.ts';
import type { RestContext } from './sample.ts';
import { type Window, windowsOf } from './windows.ts';

/** What a reading is made from. */
export interface ReadOptions {
  readonly context: RestContext;
  readonly stream: ResolvedStream;
  readonly plan: StreamPlan;
  /** The parent stream's plan, when the stream has a parent. */
  readonly parentPlan: StreamPlan | null;
  /** What the look took just now, when it is still here. */
  readonly looked: LookedPage | null;
  readonly from: Cursor | null;
  /** The parents that have rows here, as they are sent; null: none is told from another. */
  readonly parents: ReadonlySet<string> | null;
  readonly signal: AbortSignal;
}

/**
 * So far behind the beginning of a reading the mark stays: a row's time is set when its change begins, and it can be seen
 * only when that has ended; clocks differ too. What lies behind is read again by the next run, and changes nothing.
 */
const settleMs = 60_000;
/** Lists without a row, such as parents without children, after which the position is stored all the same. */
const silentListsMax = 100;

/** Begins to read a stream of an API. Nothing is asked for before the first batch. */
export function openReading(options: ReadOptions): Reading {
  return new RestReading(options);
}

class RestReading implements Reading {
  readonly guard: string;
  readonly warnings: readonly string[];
  readonly resumed: boolean;
  readonly #options: ReadOptions;
  readonly #maker: RowMaker;
  readonly #notices = new Set<string>();
  readonly #of: string;
  readonly #paged: string;
  readonly #repeats = createRepeats();
  /** Everything below is here. */
  #mark: Mark | null;
  readonly #run: Run | null;
  #until: number;
  #seen: SeenMarks;
  readonly #highBefore: Mark | null;
  /** Whether the next batch has to say what its columns are. */
  #columnsDue: boolean;
  #older = 0;
  /** Parents that had no row here when the reading began: what is older than the mark is new of them. */
  readonly #fresh: Set<string>;
  /** Some record has come. */
  #met = false;

  constructor(options: ReadOptions) {
    const { stream, plan, from } = options;
    this.#options = options;
    // Rows that were merged by another key may have been taken for one.
    const by = stream.mode === 'merge' ? stream.primaryKey : [];
    this.#of = JSON.stringify([stream.cursor, plan.cursorParam, ...by]);
    this.#paged = JSON.stringify([plan.path, plan.pagination, plan.parent?.stream ?? null]);
    const { position: usable, warnings } = usablePosition(stream, this.#of, from);
    this.warnings = warnings;
    this.#mark = usable?.mark ?? null;
    this.#run = usable?.run?.paged === this.#paged ? usable.run : null;
    this.resumed = this.#run !== null;
    this.#until = this.#run?.until ?? Date.now();
    this.#fresh = new Set(this.#run?.fresh ?? []);
    this.#seen = this.#run?.seen ?? nothingSeen;
    this.#highBefore = usable?.high ?? null;
    // The first row that comes is the last one once more: it shares its value with none but itself.
    if (this.#run !== null && this.#byOrder()) this.#seen = { ...this.#seen, last: null };
    this.#maker = createRowMaker({
      columns: stream.columns,
      wanted: wantedOf(stream),
      required: stream.primaryKey,
    });
    this.#columnsDue = false;
    this.guard = guardText(stream, plan, this.#kind());
  }

  get batches(): AsyncIterable<Batch> {
    return this.#read();
  }

  noticed(): readonly string[] {
    const { cursor } = this.#options.stream;
    return [
      ...this.#notices,
      ...this.#repeats.notices(),
      ...(this.#older > 0
        ? [
            `${this.#older} records were read and left out, since their "${plain(cursor ?? '', 63)}" was not newer than what is here.`,
          ]
        : []),
      ...this.#options.context.client.notices(),
    ];
  }

  /** Pages are no snapshot: what an API showed first may be gone when it shows the last. */
  get agreement(): Agreement {
    return 'unknown';
  }

  /** No API says how many rows it has in a way that could be trusted. */
  async count(): Promise<null> {
    return null;
  }

  async *keys(): AsyncGenerator<Batch, void, void> {}

  async [Symbol.asyncDispose](): Promise<void> {}

  async *#read(): AsyncGenerator<Batch, void, void> {
    const { stream, plan } = this.#options;
    for (const window of this.#windows()) {
      if (plan.windowMs !== null && window.from === null)
        this.#notices.add(
          `The values of "${plain(stream.cursor ?? '', 63)}" are texts that cannot be sliced into windows of time: all since the last run is asked for at once. Declare rest.cursor_format in the form that the API wants, e.g. "iso".`,
        );
      this.#repeats.turn();
      yield* this.#readWindow(window);
      if (window.to !== null && window.next !== null) this.#mark = this.#windowMark(window.to);
    }
    this.#mark = this.#settled();
    const high = this.#seen.high ?? this.#highBefore;
    yield {
      values: [],
      rows: 0,
      bytes: 0,
      cursor: writePosition({ of: this.#of, mark: this.#mark, high, run: null }),
      // A reading that was resumed began behind rows that an earlier one remembered; one that nothing came of says nothing.
      ...(stream.mode === 'append'
        ? { overlap: { from: 0, reset: false, complete: !this.resumed && this.#met } }
        : {}),
    };
  }

  async *#readWindow(window: Window): AsyncGenerator<Batch, void, void> {
    const start = this.#run !== null && this.#run.window === window.from ? this.#run : null;
    const from = start === null || this.#byOrder() ? null : { at: start.at, parent: start.parent };
    let place: Place = from ?? { at: { at: 'first' }, parent: null };
    let held: Batch | null = null;
    let silent = 0;
    for await (const event of readLists(this.#lists(window), from)) {
      if (event.kind === 'records') {
        if (held !== null) yield { ...held, cursor: this.#cursor(window, place) };
        held = this.#batch(event, window);
        silent = 0;
      } else if (event.kind === 'list') {
        silent += 1;
        if (event.parent !== undefined) this.#fresh.delete(event.parent);
      } else {
        place = event.place;
        const kind = this.#kind();
        if (kind !== null) this.#seen = endPage(this.#seen, kind, this.#highBefore);
        if (held !== null) yield { ...held, cursor: this.#cursor(window, place) };
        else if (silent >= silentListsMax)
          yield { values: [], rows: 0, bytes: 0, cursor: this.#cursor(window, place) };
        if (held === null && silent < silentListsMax) continue;
        held = null;
        silent = 0;
      }
    }
    if (held !== null) yield { ...held, cursor: this.#cursor(window, place) };
  }

  /** Rows of some records. The position is set by who hands them on. */
  #batch(event: Extract<ReadEvent, { readonly kind: 'records' }>, window: Window): Batch {
    const made = this.#maker.rows(event.records, event.textual);
    this.#met ||= made.rows > 0;
    if (this.#maker.takeChanged()) this.#columnsDue = true;
    const isFresh = event.parent !== undefined && this.#fresh.has(event.parent);
    const lower = isFresh ? startMark(this.#options.plan) : window.lower;
    const { values, rows } = this.#keepNewer(made.values, made.rows, { ...window, lower, isFresh });
    const columns = this.#columnsDue ? this.#maker.columns : null;
    this.#columnsDue = false;
    return {
      values,
      rows,
      bytes: event.bytes,
      cursor: '',
      ...(columns === null ? {} : { columns }),
      ...(event.rejects.length === 0 ? {} : { rejects: event.rejects }),
      ...(this.#options.stream.mode === 'append' ? { overlap: { from: 0, reset: false } } : {}),
    };
  }

  /** Leaves out what an API that knows no such filter sent again, and notes the highest cursor. */
  #keepNewer(
    values: Value[],
    rows: number,
    { lower, again, isFresh }: Window & { readonly isFresh: boolean },
  ): { readonly values: Value[]; readonly rows: number } {
    const { stream, plan } = this.#options;
    const place =
      stream.cursor === null ? -1 : this.#maker.columns.findIndex(({ name }) => name === stream.cursor);
    const kind = this.#kind();
    const repeated = this.#repeated(again, kind);
    if (kind === null && repeated === null) return { values, rows };
    const width = this.#maker.columns.length;
    const floor = plan.cursorParam === null && kind !== null ? this.#floor(lower, kind, isFresh) : null;
    let kept = 0;
    for (let row = 0; row < rows; row++) {
      const mark = kind === null ? null : markOf(values[row * width + place] ?? null);
      if (mark !== null && kind !== null) this.#seen = seeMark(this.#seen, mark, kind);
      if (mark !== null && kind !== null && floor !== null && compareMarks(mark, floor, kind) < 0) {
        this.#older += 1;
        continue;
      }
      if (repeated?.(mark, values.slice(row * width, (row + 1) * width)) === true) continue;
      if (kept !== row) values.copyWithin(kept * width, row * width, (row + 1) * width);
      kept += 1;
    }
    values.length = kept * width;
    return { values, rows: kept };
  }

  /** Whether a row came in the window before; null where that needs no look: a key finds it again, or there are no windows. */
  #repeated(
    again: number | null,
    kind: MarkKind | null,
  ): ((mark: Mark | null, row: readonly Value[]) => boolean) | null {
    const { stream, plan } = this.#options;
    if (plan.windowMs === null || stream.primaryKey.length > 0) return null;
    const from = again === null || kind === null ? null : this.#markAt(again, kind);
    return (mark, row) => {
      const mayCome = mark === null || from === null || kind === null || compareMarks(mark, from, kind) >= 0;
      if (again !== null && mayCome) this.#repeats.remember(row);
      return this.#repeats.again(row);
    };
  }

  /** What is older was there before; or comes before the declared beginning, which is no value of the column. */
  #floor(lower: Mark | null, kind: MarkKind, isFresh: boolean): Mark | null {
    if (lower === null || (this.#mark !== null && !isFresh)) return lower;
    return startAs(lower, kind, { format: this.#options.plan.cursorFormat, zoned: this.#zoned() });
  }

  #windows(): Generator<Window, void, void> {
    const { plan, stream } = this.#options;
    const kind = this.#kind();
    // Without a cursor all is read anew each time, but in windows all the same.
    const lower = stream.cursor === null && plan.windowMs === null ? null : this.#lower(kind);
    const lowerKind = this.#mark === null && lower !== null ? kindOfText(lower) : (kind ?? 'text');
    return windowsOf(plan, { lower, lowerKind, at: this.#run?.window ?? null, until: () => this.#until });
  }

  #lower(kind: MarkKind | null): Mark | null {
    const { plan } = this.#options;
    const after = this.#byOrder() && this.#seen.high !== null ? this.#seen.high : this.#mark;
    if (after === null || kind === null) return after ?? startMark(plan);
    return lowerBound(after, kind, {
      lookback: plan.lookback,
      zoned: this.#zoned(),
      format: plan.cursorFormat,
    });
  }

  #lists(window: Window): ListsContext {
    const { context, stream, plan, parentPlan, looked, signal } = this.#options;
    const to = plan.cursorEndParam === null ? null : (window.to ?? this.#until);
    const bounds =
      stream.cursor === null && plan.cursorStart === null
        ? {}
        : boundParams(plan, { from: window.lower ?? startMark(plan), to, kind: window.lowerKind });
    const boundsOf = (parent: string | null): Readonly<Record<string, string>> => {
      const { parents } = this.#options;
      if (parent === null || parents === null || this.#mark === null) return bounds;
      if (!parents.has(parent)) this.#fresh.add(parent);
      return this.#fresh.has(parent) ? boundParams(plan, { from: startMark(plan), to }) : bounds;
    };
    return {
      list: { settings: context.settings, client: context.client, plan, key: stream.primaryKey, signal },
      boundsOf,
      parentPlan,
      looked,
      concurrency: Math.min(plan.parent?.concurrency ?? 2, context.settings.rateLimit.concurrency),
      notice: (sentence) => void this.#notices.add(sentence),
      // The server's clock is the one that its rows carry.
      opened: (page) => {
        this.#until = Math.min(this.#until, page.at);
      },
    };
  }

  #cursor(window: Window, place: Place): Cursor {
    const mark = this.#byOrder() ? this.#settled() : this.#mark;
    const run: Run = {
      paged: this.#paged,
      until: this.#until,
      seen: this.#seen,
      window: window.from,
      at: asPlain(place.at),
      parent: place.parent === null ? null : { ...place.parent, page: asPlain(place.parent.page) },
      fresh: [...this.#fresh],
    };
    return writePosition({ of: this.#of, mark, high: this.#highBefore, run });
  }

  /** Rows come in the order of the cursor: then the highest that has landed says all, and no page is needed to go on from. */
  #byOrder(): boolean {
    const { plan, stream } = this.#options;
    return (
      plan.order === 'asc' &&
      this.#seen.order !== 'none' &&
      this.#seen.order !== 'desc' &&
      plan.cursorParam !== null &&
      stream.cursor !== null &&
      plan.parent === null &&
      plan.windowMs === null
    );
  }

  /** The mark that holds once all that was asked for is here. Never before the present one. */
  #settled(): Mark | null {
    const kind = this.#kind();
    if (this.#options.stream.cursor === null || kind === null) return this.#mark;
    return settledMark({
      seen: this.#seen,
      kind,
      mark: this.#mark,
      highBefore: this.#highBefore,
      sorted: this.#options.plan.order === 'asc' || this.#options.plan.order === 'desc',
      latest: this.#latest(kind),
    });
  }

  /** The latest mark that nothing can appear behind any more; null where the cursor is no time. */
  #latest(kind: MarkKind): Mark | null {
    const { plan } = this.#options;
    const counts = plan.cursorFormat.includes('epoch_');
    if (kind === 'text' || (kind === 'number' && !counts)) return null;
    return this.#markAt(this.#until - settleMs, kind);
  }

  #windowMark(to: number): Mark | null {
    const kind = this.#kind();
    const mark = kind === null ? null : this.#markAt(Math.min(to, this.#until - settleMs), kind);
    if (kind === null || mark === null) return this.#mark;
    return this.#mark !== null && compareMarks(mark, this.#mark, kind) < 0 ? this.#mark : mark;
  }

  /** A moment as the column's values are written; null where nothing says how that is. */
  #markAt(ms: number, kind: MarkKind): Mark | null {
    const unit = countedMs(this.#seen.high ?? this.#mark, this.#options.plan.cursorFormat);
    if (kind === 'text' || (kind === 'number' && unit === null)) return null;
    return markAt(ms, kind, { unit, zoned: this.#zoned() });
  }

  /** How the cursor's values compare; null without a cursor, or before the first of its values. */
  #kind(): MarkKind | null {
    const { cursor } = this.#options.stream;
    const column = cursor === null ? undefined : this.#maker.columns.find(({ name }) => name === cursor);
    if (column === undefined) return null;
    const kind = markKind(kindOfColumn(column));
    if (kind !== null) return kind;
    throw new MillraceError(
      'cursor_invalid',
      `The cursor "${plain(cursor ?? '', 63)}" holds values without an order (${column.sourceType}).`,
      {
        hint: 'Choose a field with a time or a number, or use mode "replace".',
      },
    );
  }

  #zoned(): boolean {
    const { cursor } = this.#options.stream;
    return this.#maker.columns.find(({ name }) => name === cursor)?.type !== 'timestamp';
  }
}
