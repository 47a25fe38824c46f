import type { Connector } from '../core/model.ts';

type Fields = Readonly<Record<string, unknown>>;

/** The fields of a connector that changed, as they were and as they are, for the audit log. Give it connectors as they are shown. */
export function difference(
  before: Connector,
  after: Connector,
): { readonly before: Fields; readonly after: Fields } {
  const outer = changedFields({ ...before }, { ...after });
  const inner = changedFields(before.config, after.config);
  const only = (fields: Fields, config: Fields): Fields => ({
    ...pick(
      fields,
      outer.filter((key) => key !== 'config'),
    ),
    ...(inner.length === 0 ? {} : { config: pick(config, inner) }),
  });
  return { before: only({ ...before }, before.config), after: only({ ...after }, after.config) };
}

function changedFields(before: Fields, after: Fields): readonly string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].filter(
    (key) => JSON.stringify(before[key]) !== JSON.stringify(after[key]),
  );
}

function pick(fields: Fields, keys: readonly string[]): Fields {
  return Object.fromEntries(keys.filter((key) => key in fields).map((key) => [key, fields[key]]));
}

/** What changed, a sentence each. */
export function describeChanges(before: Connector, after: Connector): readonly string[] {
  const changes: string[] = [];
  const was = new Map(before.streams.map((stream) => [stream.name, JSON.stringify(stream)]));
  for (const stream of after.streams) {
    if (!was.has(stream.name)) changes.push(`stream "${stream.name}" added`);
    else if (was.get(stream.name) !== JSON.stringify(stream)) changes.push(`stream "${stream.name}" changed`);
  }
  const now = new Set(after.streams.map((stream) => stream.name));
  for (const name of was.keys())
    if (!now.has(name)) changes.push(`stream "${name}" removed; its landed table stays`);
  for (const key of changedFields(before.config, after.config)) changes.push(`config.${key} changed`);
  for (const field of ['schedule', 'timezone', 'enabled', 'description'] as const) {
    if (before[field] !== after[field])
      changes.push(`${field}: ${String(before[field] ?? 'none')} → ${String(after[field] ?? 'none')}`);
  }
  return changes;
}
