/** Schemas of what comes from outside: a Connector and a Stream of the contract, earlier shapes included. */

import { z } from 'zod';
import type { Stream } from './model.ts';
import { pathSchema, restStreamSchema } from './rest-schema.ts';

const NAME = /^[a-z][a-z0-9_]{0,47}$/;
const nameMessage = 'lower-case letters, digits and "_", beginning with a letter, at most 48 characters';

const connectorName = z.string().regex(NAME, nameMessage);

const columnName = z.string().min(1).max(255);

export const streamSchema = z
  .strictObject({
    name: z
      .string()
      .regex(
        /^[a-z][a-z0-9_]{0,62}$/,
        'lower-case letters, digits and "_", beginning with a letter, at most 63 characters',
      ),
    table: z.string().min(1).max(300).optional(),
    query: z.string().min(1).max(20_000).optional(),
    path: pathSchema.optional(),
    rest: restStreamSchema.optional(),
    mode: z.enum(['merge', 'append', 'replace']).optional(),
    cursor: columnName.optional(),
    primary_key: z.array(columnName).min(1).max(32).optional(),
    lookback: z
      .union([
        z.number().nonnegative(),
        z.string().regex(/^\d+(\.\d+)?\s*(ms|s|m|h|d)$/, 'a number, or a duration such as "5m", "2h", "1d"'),
      ])
      .optional(),
    columns: z
      .strictObject({
        include: z.array(columnName).max(1600).optional(),
        exclude: z.array(columnName).max(1600).optional(),
      })
      .optional(),
    where: z.string().min(1).max(4_000).optional(),
    deletes: z.enum(['detect', 'ignore']).optional(),
  })
  .refine(
    (stream) => [stream.table, stream.query, stream.path].filter((one) => one !== undefined).length === 1,
    { message: 'a stream has one of "table", "query" and "path"' },
  )
  .superRefine((stream, context) => {
    if (stream.path === undefined && stream.rest !== undefined)
      context.addIssue({ code: 'custom', path: ['rest'], message: 'belongs to a stream with a "path"' });
    if (stream.path !== undefined && stream.where !== undefined) {
      const message = 'is a condition in SQL; an API filters by "rest.params"';
      context.addIssue({ code: 'custom', path: ['where'], message });
    }
    const placed = stream.path?.includes(`{${stream.rest?.parent?.param ?? ''}}`) ?? false;
    const holes = stream.path?.match(/\{[^{}]*\}/g) ?? [];
    if (holes.length > (placed ? 1 : 0)) {
      const message = `${holes.join(', ')} stands in the path: declare "rest.parent" with the stream and field that fill it, or write the value`;
      context.addIssue({ code: 'custom', path: ['path'], message });
    }
    if (stream.rest?.parent?.in === 'path' && !placed) {
      const message = `"{${stream.rest.parent.param}}" does not stand in the path`;
      context.addIssue({ code: 'custom', path: ['rest', 'parent', 'param'], message });
    }
  }) as unknown as z.ZodType<Stream>;

/** The Connector of the contract; `streams` may be left out while looking around. */
const connectorShape = {
  name: connectorName,
  type: z.string().min(1).max(40),
  config: z.record(z.string(), z.unknown()),
  streams: z.array(streamSchema).max(1_000).default([]),
  schedule: z.string().min(1).max(100).optional(),
  timezone: z.string().min(1).max(60).optional(),
  enabled: z.boolean().default(true),
  description: z.string().max(500).optional(),
};

/** The shape of the earlier system: one stream described on the connector itself. */
const earlierShape = {
  table: z.string().min(1).max(300).optional(),
  query: z.string().min(1).max(20_000).optional(),
  incremental: z.boolean().optional(),
  timestamp_column: columnName.optional(),
};

export const registerSchema = z.strictObject({
  ...connectorShape,
  ...earlierShape,
  test: z.boolean().default(true),
});

export const updateSchema = z.strictObject({
  connector: connectorName,
  config: z.record(z.string(), z.unknown()).optional(),
  streams: z.array(streamSchema).max(1_000).optional(),
  add_streams: z.array(streamSchema).max(1_000).optional(),
  remove_streams: z.array(z.string().max(63)).max(1_000).optional(),
  schedule: z.string().max(100).optional(),
  timezone: z.string().max(60).optional(),
  enabled: z.boolean().optional(),
  description: z.string().max(500).optional(),
});

/** The one stream that `table`, `query`, `incremental` and `timestamp_column` on a connector describe; null when none is given. */
export function earlierStream(input: {
  readonly name: string;
  readonly table?: string | undefined;
  readonly query?: string | undefined;
  readonly incremental?: boolean | undefined;
  readonly timestamp_column?: string | undefined;
}): Stream | null {
  if (input.table === undefined && input.query === undefined) return null;
  const source = input.table !== undefined ? { table: input.table } : { query: input.query as string };
  const cursor = input.incremental === false ? undefined : input.timestamp_column;
  return {
    name: input.table === undefined ? 'rows' : streamNameOf(input.table),
    ...source,
    ...(cursor === undefined ? {} : { cursor }),
    ...(input.incremental === false ? { mode: 'replace' as const } : {}),
  };
}

function streamNameOf(table: string): string {
  const last = table.replaceAll('"', '').split('.').at(-1) ?? table;
  const name = last
    .toLowerCase()
    .replaceAll(/[^a-z0-9_]+/g, '_')
    .replace(/^[^a-z]+/, '');
  return name.slice(0, 63) || 'rows';
}
