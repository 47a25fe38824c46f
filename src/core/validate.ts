import type { z } from 'zod';
import { MillraceError } from './errors.ts';
import { suggestion } from './nearest.ts';

/**
 * Parses outside input with a schema. Throws `invalid_config` that names each place and what belongs there; an
 * unknown key is answered with the nearest known one.
 */
export function validate<T>(schema: z.ZodType<T>, input: unknown, what: string): T {
  const result = schema.safeParse(input, { reportInput: false });
  if (result.success) return result.data;
  const problems = result.error.issues.slice(0, 8).map((issue) => describe(issue, schema));
  const more = result.error.issues.length - problems.length;
  throw new MillraceError(
    'invalid_config',
    `${what} does not hold: ${problems.join('; ')}${more > 0 ? `; and ${more} more` : ''}.`,
    {
      hint: 'Correct what is named above and call again; nothing was changed. `list_connector_types` shows every field of a connector type.',
      nextActions: [{ tool: 'list_connector_types', arguments: {}, why: 'shows the fields each type takes' }],
    },
  );
}

function describe(issue: z.core.$ZodIssue, schema: z.ZodType): string {
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(schema, issue.path);
    return issue.keys
      .map(
        (key) =>
          `unknown option "${[...path, key].join('.')}"${known.length > 0 ? ` (${suggestion(key, known)})` : ''}`,
      )
      .join('; ');
  }
  return path.length > 0 ? `${path.join('.')}: ${issue.message}` : issue.message;
}

/** Keys the schema knows at a path; empty where that cannot be told (unions). */
function keysAt(schema: unknown, path: readonly PropertyKey[]): readonly string[] {
  let at: unknown = unwrap(schema);
  for (const part of path) {
    const shape = shapeOf(at);
    at = unwrap(shape ? shape[String(part)] : elementOf(at));
  }
  return Object.keys(shapeOf(at) ?? {});
}

/** Zod keeps a schema's definition in `_zod.def`; wrappers (optional, default, pipe) hold the inner one. */
function unwrap(schema: unknown): unknown {
  let at = schema;
  for (let depth = 0; depth < 8; depth += 1) {
    const def = defOf(at);
    const inner = def?.['innerType'] ?? def?.['in'];
    if (inner === undefined) return at;
    at = inner;
  }
  return at;
}

function shapeOf(schema: unknown): Record<string, unknown> | undefined {
  return defOf(schema)?.['shape'] as Record<string, unknown> | undefined;
}

function elementOf(schema: unknown): unknown {
  return defOf(schema)?.['element'];
}

function defOf(schema: unknown): Record<string, unknown> | undefined {
  return (schema as { _zod?: { def?: Record<string, unknown> } } | undefined)?._zod?.def;
}
