import { findConnectorType } from '../connectors/index.ts';
import { MillraceError } from '../core/errors.ts';
import type { Connector, Stream } from '../core/model.ts';
import { suggestion } from '../core/nearest.ts';
import { streamSchema } from '../core/schema.ts';
import type { Value } from '../core/types.ts';
import { validate } from '../core/validate.ts';
import { ask, type Context } from './context.ts';
import { assertStreamsFit } from './fit.ts';
import type { Preview, StreamService } from './services.ts';

/** A previewed cell shows at most this many characters: it is a look, not a transfer. */
const cellChars = 200;

/** What there is at the source, and how it would land. */
export function createStreamService(context: Context): StreamService {
  return {
    async discover(request, signal) {
      const connector = await context.connectors.get(request.connector);
      const page = {
        limit: request.limit ?? 20,
        ...(request.cursor === undefined ? {} : { cursor: request.cursor }),
        ...(request.search === undefined ? {} : { search: request.search }),
      };
      return await ask(context, { connector, question: { ask: 'discover', request: page } }, signal);
    },

    async preview(request, signal) {
      const connector = await context.connectors.get(request.connector);
      const stream = streamOf(connector, request.stream);
      const others = connector.streams.filter(({ name }) => name !== stream.name);
      assertStreamsFit(findConnectorType(connector.type), [...others, stream]);
      const answer = await ask(
        context,
        { connector, question: { ask: 'preview', stream, limit: request.limit ?? 5 } },
        signal,
      );
      return {
        columns: answer.stream.columns.map((column) => ({
          name: column.name,
          type: column.type,
          source_type: column.sourceType,
        })),
        rows: answer.rows.map((row) => row.map(shown)),
        would_write: { table: answer.table, mode: answer.stream.mode, ddl: answer.ddl },
        warnings: [...answer.stream.notes, ...answer.remarks],
      } satisfies Preview;
    },
  };
}

function streamOf(connector: Connector, wanted: unknown): Stream {
  if (typeof wanted !== 'string') return validate(streamSchema, wanted, 'The stream');
  const found = connector.streams.find((stream) => stream.name === wanted);
  if (found !== undefined) return found;
  throw new MillraceError('invalid_config', `"${connector.name}" has no stream "${wanted}".`, {
    hint: `${suggestion(
      wanted,
      connector.streams.map((stream) => stream.name),
    )} A stream that is not registered yet is given as an object: {"name": "orders", "table": "public.orders"}, or of an API {"name": "orders", "path": "/v1/orders"}.`,
    nextActions: [
      {
        tool: 'discover_streams',
        arguments: { connector: connector.name, search: wanted },
        why: 'shows what there is at the source',
      },
    ],
  });
}

function shown(value: Value): string | number | boolean | null {
  if (value instanceof Uint8Array)
    return cut(`\\x${Buffer.from(value.subarray(0, cellChars)).toString('hex')}`, value.length * 2);
  if (typeof value === 'bigint') return value.toString();
  return typeof value === 'string' ? cut(value, value.length) : value;
}

function cut(text: string, length: number): string {
  return length <= cellChars ? text : `${text.slice(0, cellChars)}… (${length} characters)`;
}
