import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync, type SQLInputValue } from 'node:sqlite';
import { onTestFinished } from 'vitest';
import type { MillraceError } from '../../src/core/errors.ts';
import type { Batch, Mode, ResolvedStream } from '../../src/core/model.ts';
import type { Column, LogicalType, Value } from '../../src/core/types.ts';
import type { Destination, Writer, WriterRequest } from '../../src/destinations/destination.ts';
import { openSqliteDestination } from '../../src/destinations/index.ts';

/** A warehouse file of its own, removed after the test. */
export function freshFile(): string {
  const directory = mkdtempSync(join(tmpdir(), 'millrace-warehouse-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return join(directory, 'warehouse.db');
}

export function column(name: string, type: LogicalType, sourceType: string = type): Column {
  return { name, type, sourceType, nullable: true };
}

export interface StreamOptions {
  readonly name?: string;
  readonly mode?: Mode;
  readonly columns?: readonly Column[];
  readonly key?: readonly string[];
}

/** `id integer` as key and `v text`, merged by `id`, unless told otherwise. */
export function streamOf(options: StreamOptions = {}): ResolvedStream {
  const name = options.name ?? 'orders';
  const mode = options.mode ?? 'merge';
  return {
    name,
    declared: { name, table: `public.${name}` },
    mode,
    columns: options.columns ?? [column('id', 'integer', 'bigint'), column('v', 'text')],
    primaryKey: options.key ?? (mode === 'append' ? [] : ['id']),
    cursor: null,
    detectDeletes: false,
    notes: [],
  };
}

export function requestOf(stream: ResolvedStream, more: Partial<WriterRequest> = {}): WriterRequest {
  return {
    connector: 'shop',
    stream,
    runId: 'run1',
    epoch: 1,
    rebuild: stream.mode === 'replace',
    definition: 'one',
    ...more,
  };
}

/** Rows as arrays become the flat batch that crosses threads. */
export function batchOf(
  rows: readonly (readonly Value[])[],
  cursor: string,
  overlap?: Batch['overlap'],
): Batch {
  return {
    values: rows.flat(),
    rows: rows.length,
    bytes: rows.length * 10,
    cursor,
    ...(overlap === undefined ? {} : { overlap }),
  };
}

/** Opens the file, does one thing with a writer, and closes both. */
export async function withWriter<T>(
  file: string,
  request: WriterRequest,
  work: (writer: Writer, destination: Destination) => Promise<T>,
): Promise<T> {
  await using destination = openSqliteDestination(file);
  await using writer = await destination.writer(request);
  return await work(writer, destination);
}

/** One whole sync: the rows in one batch, then the end. */
export async function land(
  file: string,
  request: WriterRequest,
  rows: readonly (readonly Value[])[],
): Promise<{ readonly written: number; readonly rejects: number; readonly changes: readonly string[] }> {
  return await withWriter(file, request, async (writer) => {
    const committed = await writer.commit(batchOf(rows, 'end'));
    await writer.finish({ expectedRows: null, minimumShare: null });
    return { ...committed, changes: writer.changes };
  });
}

/**
 * What any SQLite tool would see; integers as bigint so that none is rounded. Read with the library that has the file in
 * this process already: with two of them it was damaged within seconds.
 */
export function read(
  file: string,
  sql: string,
  ...values: readonly SQLInputValue[]
): readonly (readonly unknown[])[] {
  const db = new DatabaseSync(file, { readOnly: true, readBigInts: true, returnArrays: true });
  try {
    return db.prepare(sql).all(...values) as unknown as unknown[][];
  } finally {
    db.close();
  }
}

/** Any SQL at all, as another tool would do it to the file. */
export function write(file: string, sql: string): void {
  const db = new DatabaseSync(file);
  try {
    db.exec(sql);
  } finally {
    db.close();
  }
}

/** The error a promise fails with; fails itself when there is none. */
export async function failure(work: Promise<unknown>): Promise<MillraceError> {
  try {
    await work;
  } catch (error) {
    return error as MillraceError;
  }
  throw new Error('it did not fail');
}
