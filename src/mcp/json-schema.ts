import { z } from 'zod';

export type JsonSchema = { readonly type: 'object' } & Readonly<Record<string, unknown>>;

/** The arguments of a tool as JSON Schema. Unknown ones are refused, and the schema says so. */
export function inputJsonSchema(schema: z.ZodObject): JsonSchema {
  return compact(z.toJSONSchema(schema, { io: 'input' })) as JsonSchema;
}

/**
 * What a tool answers, as JSON Schema: which fields there may be and their types. None is listed as required,
 * first because an error answers `{ error }`, and clients on the 2025 SDK check that against the same schema and
 * drop the answer when it does not fit; and then because that list is a sixth of all tokens. Nothing is closed,
 * so that a newer server may say more. Our own tests hold every answer against the strict schema.
 */
export function outputJsonSchema(schema: z.ZodObject): JsonSchema {
  return compact(withoutRequired(z.toJSONSchema(schema, { io: 'input' }))) as JsonSchema;
}

/**
 * A list of names under `required` is the keyword; a property of that name is an object. What is marked `brief`
 * says that it is an object and no more: it is described once, where the model is told how to work.
 */
function withoutRequired(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(withoutRequired);
  if (typeof node !== 'object' || node === null) return node;
  if ('brief' in node && node.brief === true) return { type: 'object' };
  const kept = Object.entries(node).filter(([key, value]) => !(key === 'required' && Array.isArray(value)));
  return Object.fromEntries(kept.map(([key, value]) => [key, withoutRequired(value)]));
}

/** Without what says nothing: each word of the list is paid for by every conversation. */
function compact(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(compact);
  if (typeof node !== 'object' || node === null) return node;
  return Object.fromEntries(
    Object.entries(node)
      .filter(([key, value]) => !(SILENT.has(key) || (OPEN.has(key) && isEmpty(value))))
      .map(([key, value]) => [key, compact(value)]),
  );
}

/** `$schema`: 2020-12 is what the protocol assumes. `propertyNames`: a JSON object's keys are texts anyway. */
const SILENT: ReadonlySet<string> = new Set(['$schema', 'propertyNames']);
/** As `{}` these allow anything, which is what their absence does. */
const OPEN: ReadonlySet<string> = new Set(['items', 'additionalProperties', 'properties']);

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}
