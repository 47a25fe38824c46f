import type { Reading, Source } from '../connectors/connector.ts';
import { asMillraceError, faultOf, MillraceError } from '../core/errors.ts';
import type { ResolvedStream, Stream, StreamResult } from '../core/model.ts';
import { asFound, asksOtherwise, definitionsOf } from './definition.ts';
import type { Landing, LandingWriter } from './landing.ts';

/** What moving one stream once needs to know. */
export interface StreamTask {
  readonly connector: string;
  readonly stream: Stream;
  readonly runId: string;
  readonly epoch: number;
  /** Read everything anew, beside the present table, and swap at the end. */
  readonly fullRefresh: boolean;
  /** What belongs to the stream's definition besides itself, e.g. the database it is read from. */
  readonly sourceDefinition: string;
  /** How earlier attempts of the run left it: it stays so where this one does not get as far as the table. */
  readonly earlier: StreamResult;
}

export interface StreamTools {
  readonly source: Source;
  readonly showCursor: (cursor: string) => string | null;
  readonly landing: Landing;
  /** Milliseconds, monotonic. */
  readonly now: () => number;
  /** Called after every batch; building the result is left to who wants to see it. */
  readonly onProgress: (result: () => StreamResult) => void;
  /** Hears the stack of an error that nobody classified. */
  readonly onFault: (detail: string) => void;
}

/**
 * A full load that comes back smaller than this share of what the table held is refused: a retried refresh once
 * replaced 72,385 rows by 2,707 and was called a success (airbytehq/airbyte#86347). A full refresh asked for
 * by name accepts it.
 */
const minimumShare = 0.5;
/** More missing keys than this share of the table look like a wrong filter, not like deletions. */
const deleteCeiling = 0.5;

/**
 * Moves one stream once: resolve, read from the committed position, land, look for deletions, make it visible.
 * Never throws: what went wrong is in the result, with everything that was committed before it.
 */
export async function syncStream(
  task: StreamTask,
  tools: StreamTools,
  signal: AbortSignal,
): Promise<StreamResult> {
  const progress = createProgress(task.earlier, tools);
  let writer: LandingWriter | undefined;
  try {
    const before = await tools.landing.landed(task.connector, task.stream.name);
    const declared = task.fullRefresh ? task.stream : asFound(task.stream, before, task.sourceDefinition);
    const stream = await progress.stage('connect', () => tools.source.resolve(declared, signal));
    progress.set({ mode: stream.mode, warnings: stream.notes });
    const definitions = definitionsOf(stream, task.sourceDefinition);
    writer = await tools.landing.open({
      connector: task.connector,
      stream,
      runId: task.runId,
      epoch: task.epoch,
      rebuild: task.fullRefresh || stream.mode === 'replace',
      ...definitions,
    });
    const { rebuilding } = writer;
    progress.begin(writer);
    // Of a stream that grows, the source goes on from the columns that have landed.
    const landed = stream.columnsGrow === true ? { ...stream, columns: writer.columns } : stream;
    const from = writer.cursor;
    const parents =
      from === null || stream.parentColumn === undefined ? null : await writer.valuesOf(stream.parentColumn);
    if (from !== null && stream.parentColumn !== undefined && parents === null)
      progress.warn([
        `Which parents are new cannot be told by "${stream.parentColumn}", which holds no plain numbers or texts here: of one that came later, ` +
          'rows that are older than the mark come with full_refresh: true only.',
      ]);
    await using reading = await progress.stage('connect', () =>
      tools.source.read(landed, from, signal, parents),
    );
    progress.set({ guard: reading.guard });
    progress.warn(reading.warnings);

    try {
      await progress.stage('read', () =>
        move({ stream, reading, writer: writer as LandingWriter, progress }, signal),
      );
    } finally {
      // Also of a reading that failed: its batches have landed.
      progress.warn(reading.noticed?.() ?? []);
      progress.warn(bounded(writer.grown));
      progress.warn(notKept(writer.unkept));
      progress.warn(metAgain(stream, writer.again));
    }
    if (!rebuilding && stream.detectDeletes) {
      await progress.stage('deletes', () =>
        compareWithSource({ stream, reading, writer: writer as LandingWriter, progress }, signal),
      );
    }
    await progress.stage('finish', async () => {
      const expectedRows = rebuilding && reading.agreement === 'same' ? await reading.count() : null;
      await writer?.finish({
        expectedRows,
        minimumShare:
          task.fullRefresh || (before !== null && asksOtherwise(before, definitions)) ? null : minimumShare,
      });
    });
    return progress.end('succeeded');
  } catch (error) {
    const known = asMillraceError(
      signal.aborted && signal.reason instanceof MillraceError ? signal.reason : error,
    );
    // What was sent and is good has to be in the counts, also of a run that failed.
    await writer?.drain().catch(() => undefined);
    if (known.code === 'internal') tools.onFault(faultOf(error));
    return progress.end(known.code === 'cancelled' ? 'cancelled' : 'failed', known);
  } finally {
    await writer?.close().catch(() => undefined);
  }
}

/** A field of a million names must not make a million sentences. */
function bounded(changes: readonly string[]): readonly string[] {
  const most = 20;
  return changes.length <= most
    ? changes
    : [...changes.slice(0, most), `${changes.length - most} more changes of columns`];
}

function notKept(rows: number): readonly string[] {
  if (rows === 0) return [];
  return [
    `${rows} of the rejects are counted and not kept: there is no room for more than 10,000 of a stream. ` +
      'Mend the mapping and run sync_connector with full_refresh: true, which reads them again.',
  ];
}

/** A table's key is known to the server; of an API's records nobody says that it tells them apart. */
function metAgain({ columnsGrow, primaryKey }: ResolvedStream, rows: number): readonly string[] {
  if (columnsGrow !== true || rows === 0) return [];
  return [
    `${rows} records had the key (${primaryKey.join(', ')}) of another record of this run, and took its place. Where these are not ` +
      'newer versions of one record, the key is too narrow: declare in `primary_key` all fields that tell records apart ' +
      '(of a stream with a parent also the column of the parent), and run sync_connector with full_refresh: true.',
  ];
}

interface Moved {
  readonly stream: ResolvedStream;
  readonly reading: Reading;
  readonly writer: LandingWriter;
  readonly progress: Progress;
}

async function move({ reading, writer, progress }: Moved, signal: AbortSignal): Promise<void> {
  const batches = reading.batches[Symbol.asyncIterator]();
  try {
    for (;;) {
      // Room first, then the batch: rows that wait for the writer would survive the young generation, and the garbage
      // collector then takes a third of this thread's time (measured on wide rows).
      await writer.room();
      signal.throwIfAborted();
      const next = await batches.next();
      if (next.done === true) break;
      const { rows, rejects, bytes, cursor } = next.value;
      writer.send(next.value);
      progress.read(rows + (rejects?.length ?? 0), bytes, cursor);
    }
  } finally {
    await batches.return?.();
  }
  await writer.drain();
}

/**
 * After a complete incremental read the table holds every row of the source's snapshot, and besides those only
 * rows that were deleted there: so one count tells whether the keys must be compared at all. Fewer rows here than
 * there cannot come from deletions: the cursor column misses some changes, and that is said. Where rows stand aside
 * as rejects the counts tell nothing, and the keys are compared.
 */
async function compareWithSource(
  { stream, reading, writer, progress }: Moved,
  signal: AbortSignal,
): Promise<void> {
  const there = await reading.count();
  if (there === null) return;
  const here = await writer.liveRows();
  const same = here === there && !writer.hasRejects;
  if (same || (await markDeletions({ stream, reading, writer, progress }, { here, there }, signal))) {
    const cursor = reading.compared?.() ?? null;
    if (cursor !== null) writer.send({ values: [], rows: 0, bytes: 0, cursor });
    await writer.drain();
  }
}

/** Returns whether the table now holds the rows of the snapshot and no others. */
async function markDeletions(
  { stream, reading, writer, progress }: Moved,
  { here, there }: { readonly here: number; readonly there: number },
  signal: AbortSignal,
): Promise<boolean> {
  const missed = (now: number): void => {
    if (now >= there || writer.hasRejects || reading.agreement === 'unknown') return;
    progress.warn([
      `The source has ${there} rows and the table ${now}: some rows are older in "${stream.cursor}" than what was already read. ` +
        'Give the stream a `lookback` if its cursor is a time or a number, or run sync_connector with full_refresh: true.',
    ]);
  };
  missed(here);
  if (here <= there && !writer.hasRejects) return false;
  for await (const keys of reading.keys()) {
    signal.throwIfAborted();
    await writer.seenKeys(keys.values, keys.rows);
  }
  progress.deleted(await writer.markDeleted(deleteCeiling));
  const now = await writer.liveRows();
  // Deletions had made up for them in the first count.
  missed(now);
  return now === there;
}

interface Progress {
  stage<T>(name: string, work: () => Promise<T>): Promise<T>;
  set(part: Partial<StreamResult>): void;
  warn(warnings: readonly string[]): void;
  begin(writer: LandingWriter): void;
  read(rows: number, bytes: number, cursor: string): void;
  deleted(rows: number): void;
  end(status: StreamResult['status'], error?: MillraceError): StreamResult;
}

/** Keeps the result of a stream while it moves, and shows it; counts of an earlier attempt of this run are in it. */
function createProgress(earlier: StreamResult, tools: StreamTools): Progress {
  let writer: LandingWriter | undefined;
  let rowsRead = 0;
  let bytesRead = 0;
  let rowsDeleted = 0;
  let lastCursor: string | undefined;
  let part: Partial<StreamResult> = {};
  const ms: Record<string, number> = {};

  const show = (cursor: string | null | undefined): string | undefined =>
    cursor === null || cursor === undefined ? undefined : (tools.showCursor(cursor) ?? undefined);

  const result = (status: StreamResult['status']): StreamResult => {
    const spent = Object.fromEntries(Object.entries(ms).map(([stage, one]) => [stage, Math.round(one)]));
    if (writer === undefined) return { ...earlier, ...part, status, ms: spent };
    const before = show(writer.cursor);
    const after = show(lastCursor) ?? before;
    return {
      stream: earlier.stream,
      status,
      rows_read: writer.before.rows_read + rowsRead,
      rows_written: writer.before.rows_written + writer.written,
      rows_deleted: writer.before.rows_deleted + rowsDeleted,
      rejects: writer.before.rejects + writer.rejects,
      bytes_read: writer.before.bytes_read + bytesRead,
      ...(before === undefined ? {} : { cursor_before: before }),
      ...(after === undefined ? {} : { cursor_after: after }),
      ms: spent,
      ...(earlier.guard === undefined ? {} : { guard: earlier.guard }),
      ...part,
    };
  };

  return {
    async stage(stage, work) {
      const from = tools.now();
      try {
        return await work();
      } finally {
        ms[stage] = (ms[stage] ?? 0) + tools.now() - from;
        tools.onProgress(() => result('running'));
      }
    },
    set(more) {
      part = { ...part, ...more };
    },
    warn(warnings) {
      if (warnings.length > 0) part = { ...part, warnings: [...(part.warnings ?? []), ...warnings] };
    },
    begin(opened) {
      writer = opened;
      this.warn(opened.changes);
    },
    read(rows, bytes, cursor) {
      rowsRead += rows;
      bytesRead += bytes;
      lastCursor = cursor;
      tools.onProgress(() => result('running'));
    },
    deleted(rows) {
      rowsDeleted += rows;
    },
    end: (status, error) => ({
      ...result(status),
      ...(error === undefined ? {} : { error: error.toView() }),
    }),
  };
}
