/**
 * How each type of PostgreSQL is read: what stands in the SELECT list, how the bytes are decoded, and what it
 * means. The types that tables are mostly made of are decoded from their binary form; everything else is turned
 * into its own text by the server, so that no type can be met that does not land.
 */

import type { LogicalType, Value } from '../../core/types.ts';
import { arrayDecoder, numericJson, rawJson, textJson } from './arrays.ts';
import * as decode from './decode.ts';
import type { Session } from './session.ts';

/** One type as the catalogue describes it. */
export interface TypeInfo {
  readonly oid: number;
  readonly name: string;
  /** `b` base, `c` composite, `d` domain, `e` enum, `p` pseudo, `r` range, `m` multirange. */
  readonly kind: string;
  /** Of a domain: what it stands on; 0 otherwise. */
  readonly base: number;
  /** Of a true array: its element; 0 otherwise. */
  readonly element: number;
  /** A cast to text is somebody's function and not the type's own output: `inet::text` adds a mask. */
  readonly castsOddly: boolean;
  /** Has an order that an index could use. */
  readonly orderable: boolean;
  /** As it is written in a cast. */
  readonly sql: string;
}

/** How a column of some type travels. */
export interface Travel {
  readonly type: LogicalType;
  readonly decode: decode.Decoder;
  /** What to select for a column given as SQL. */
  readonly select: (column: string) => string;
  /**
   * A landed value as text that the server reads back as exactly that value; null where only the server can
   * write it (its JSON is not its literal).
   */
  readonly literal: ((value: Value) => string) | null;
}

/** Types by oid, filled as they are met. One per source: oids mean nothing elsewhere. */
export type TypeCache = Map<number, TypeInfo>;

/** Fills the cache with these types and everything they stand on, in one query. */
export async function learnTypes(session: Session, oids: readonly number[], cache: TypeCache): Promise<void> {
  const unknown = [...new Set(oids)].filter((oid) => !cache.has(oid));
  if (unknown.length === 0) return;
  const rows = await session.query(learnSql, [`{${unknown.join(',')}}`]);
  for (const [oid, name, kind, base, element, odd, orderable, sql] of rows) {
    cache.set(Number(oid), {
      oid: Number(oid),
      name: name ?? '',
      kind: kind ?? 'b',
      base: Number(base),
      element: Number(element),
      castsOddly: odd === 't',
      orderable: orderable === 't',
      sql: sql ?? '',
    });
  }
}

/** Arrays, enums, ranges and records have their order through a pseudo-type's operator class. */
const learnSql = `
WITH RECURSIVE need(oid) AS (
  SELECT unnest($1::oid[])
  UNION
  SELECT CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.typelem END
  FROM need JOIN pg_catalog.pg_type t ON t.oid = need.oid
  WHERE t.typtype = 'd' OR (t.typelem <> 0 AND t.typoutput = 'pg_catalog.array_out'::regproc)
)
SELECT t.oid, t.typname, t.typtype,
  CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE 0 END,
  CASE WHEN t.typtype <> 'd' AND t.typoutput = 'pg_catalog.array_out'::regproc THEN t.typelem ELSE 0 END,
  EXISTS (SELECT FROM pg_catalog.pg_cast c WHERE c.castsource = t.oid AND c.casttarget = 25 AND c.castmethod = 'f'),
  t.typtype IN ('e', 'r', 'm') OR EXISTS (
    SELECT FROM pg_catalog.pg_opclass o JOIN pg_catalog.pg_am a ON a.oid = o.opcmethod
    WHERE a.amname = 'btree' AND o.opcdefault AND (o.opcintype = t.oid OR EXISTS (
      SELECT FROM pg_catalog.pg_cast c
      WHERE c.castsource = t.oid AND c.casttarget = o.opcintype AND c.castmethod = 'b' AND c.castcontext = 'i'))),
  pg_catalog.format_type(t.oid, -1)
FROM need JOIN pg_catalog.pg_type t ON t.oid = need.oid`;

/** What a domain stands on in the end; the type itself when it is no domain. */
export function baseType(oid: number, cache: TypeCache): TypeInfo {
  let info = cache.get(oid);
  while (info && info.kind === 'd') info = cache.get(info.base);
  return (
    info ?? {
      oid,
      name: '?',
      kind: 'b',
      base: 0,
      element: 0,
      castsOddly: true,
      orderable: false,
      sql: 'text',
    }
  );
}

/** Whether rows can be ordered by it: arrays by their elements, json, xml and geometry not at all. */
export function isOrderable(oid: number, cache: TypeCache): boolean {
  const type = baseType(oid, cache);
  return type.element === 0 ? type.orderable : isOrderable(type.element, cache);
}

/** How a column of this type travels. The type must have been learnt. */
export function travelOf(oid: number, cache: TypeCache): Travel {
  const type = baseType(oid, cache);
  const native = natives.get(type.oid);
  if (native) return native;
  if (type.kind === 'e') return enumLabel;
  if (type.element !== 0) return arrayTravel(baseType(type.element, cache));
  if (type.kind === 'c' || (type.kind === 'p' && type.name === 'record')) return composite;
  return type.castsOddly ? ownOutput : ownText;
}

const asIs = (column: string): string => column;
const say = (value: Value): string => String(value);
const hex = (value: Value): string =>
  value instanceof Uint8Array
    ? `\\x${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex')}`
    : String(value);

function native(type: LogicalType, decoder: decode.Decoder, literal: (value: Value) => string = say): Travel {
  return { type, decode: decoder, select: asIs, literal };
}

const natives: ReadonlyMap<number, Travel> = new Map([
  [16, native('boolean', decode.bool)],
  [17, native('bytes', decode.bytes, hex)],
  [19, native('text', decode.text)], // name
  [20, native('integer', decode.int8)],
  [21, native('integer', decode.int2)],
  [23, native('integer', decode.int4)],
  [25, native('text', decode.text)],
  [26, native('integer', decode.oid)],
  [114, native('json', decode.text)],
  [700, native('float', decode.float4)],
  [701, native('float', decode.float8)],
  [1042, native('text', decode.text)], // character(n), padding kept
  [1043, native('text', decode.text)],
  [1082, native('date', decode.date)],
  [1114, native('timestamp', decode.timestamp)],
  [1184, native('timestamptz', decode.timestamptz)],
  [1700, native('decimal', decode.numeric)],
  [2950, native('text', decode.uuid)],
  [3802, native('json', decode.jsonb)],
]);

/** Elements whose JSON by our hand is the same, byte for byte, as the server's. */
const nativeElements: ReadonlyMap<number, decode.Decoder> = new Map([
  [16, arrayDecoder(decode.bool, rawJson)],
  [20, arrayDecoder(decode.int8, rawJson)],
  [21, arrayDecoder(decode.int2, rawJson)],
  [23, arrayDecoder(decode.int4, rawJson)],
  [25, arrayDecoder(decode.text, textJson)],
  [1043, arrayDecoder(decode.text, textJson)],
  [1700, arrayDecoder(decode.numeric, numericJson)],
  [2950, arrayDecoder(decode.uuid, textJson)],
]);

const enumLabel = native('text', decode.text);
const composite: Travel = {
  type: 'json',
  decode: decode.text,
  select: (column) => `pg_catalog.to_json(${column})::text`,
  literal: null,
};
const ownText: Travel = {
  type: 'text',
  decode: decode.text,
  select: (column) => `${column}::text`,
  literal: say,
};
const ownOutput: Travel = {
  type: 'text',
  decode: decode.text,
  select: (column) => `CASE WHEN ${column} IS NOT NULL THEN pg_catalog.format('%s', ${column}) END`,
  literal: say,
};

function arrayTravel(element: TypeInfo): Travel {
  const decoder =
    nativeElements.get(element.oid) ??
    (element.kind === 'e' ? arrayDecoder(decode.text, textJson) : undefined);
  if (decoder) return { type: 'json', decode: decoder, select: asIs, literal: null };
  return serverArray;
}

/** JSON has no lower bounds: an array with others than 1 stays PostgreSQL's own literal. */
const serverArray: Travel = {
  type: 'json',
  decode: decode.text,
  select: (column) =>
    `CASE WHEN pg_catalog.array_ndims(${column}) IS NULL OR pg_catalog.array_dims(${column}) ~ '^(\\[1:[0-9]+\\])+$'` +
    ` THEN pg_catalog.to_json(${column})::text ELSE ${column}::text END`,
  literal: null,
};
