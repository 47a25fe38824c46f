import type { z } from 'zod';
import { findConnectorType } from '../connectors/index.ts';
import { MillraceError } from '../core/errors.ts';
import type { Connector, Stream } from '../core/model.ts';
import { suggestion } from '../core/nearest.ts';
import { earlierStream, type registerSchema, type updateSchema } from '../core/schema.ts';
import { validate } from '../core/validate.ts';
import type { SealedConfig } from '../vault/secret-tools.ts';
import { typedAction } from './ask-person.ts';
import type { Context } from './context.ts';
import { describeChanges } from './difference.ts';
import { assertSecretsBound, assertStreamsFit } from './fit.ts';
import { assertSchedule } from './schedule.ts';

/** What `update_connector` takes. */
export type ConnectorChange = z.infer<typeof updateSchema>;

/** A change as it was made. */
export interface Changed {
  readonly before: Connector;
  /** Null when there was nothing to change. */
  readonly record: Connector | null;
  readonly changes: readonly string[];
  readonly sealed: Omit<SealedConfig, 'config'>;
  /** What a person should know of secrets that go to another host now. */
  readonly moved: readonly string[];
}

/**
 * Makes the change upon the connector as it is in the moment of writing: when somebody else has changed it since it was
 * looked at, theirs is kept and this one is made upon it.
 */
export async function changeConnector(context: Context, change: ConnectorChange): Promise<Changed> {
  for (;;) {
    const before = await context.connectors.get(change.connector);
    const { config, moved, sealed } = await changedConfig(context, before, change);
    const { connector: _name, config: _config, streams: _streams, add_streams: _add, ...more } = change;
    const { remove_streams: _remove, ...fields } = more;
    const streams = changedStreams(before.streams, change);
    assertStreamNames(streams);
    assertStreamsFit(findConnectorType(before.type), streams);
    const enabled = fields.enabled ?? before.enabled;
    const after = connectorOf({ ...before, ...fields, enabled, config, streams });
    if (isRescheduled(change)) assertSchedule(context, after);
    const changes = [
      ...describeChanges(before, after),
      ...sealed.fields.map((field) => `config.${field} sealed`),
    ];
    if (changes.length === 0) return { before, record: null, changes, sealed, moved };
    const record = await context.connectors.update(after, sealed.sealed, before);
    if (record !== null) return { before, record, changes, sealed, moved };
  }
}

async function changedConfig(
  context: Context,
  before: Connector,
  change: ConnectorChange,
): Promise<Pick<Changed, 'sealed' | 'moved'> & Pick<Connector, 'config'>> {
  const type = findConnectorType(before.type);
  if (change.config === undefined) {
    validate(type.config, before.config, `The ${type.type} config`);
    const nothing = { sealed: [], fields: [], asked: [], warnings: [] };
    return { config: before.config, moved: [], sealed: nothing };
  }
  const given = mergeConfig(before.config, change.config);
  const merged = context.secrets.unmask(given, before.config, type.secrets);
  validate(type.config, merged, `The ${type.type} config`);
  const moved = assertSecretsBound(type, {
    before: before.config,
    after: merged,
    given: change.config,
    worked: await isBound(context, before.name),
  });
  const { config, ...sealed } = await context.secrets.seal(before.name, merged, type.secrets);
  return { config, moved, sealed };
}

/**
 * Whether its credentials are known to be those of its host: a run of it ever brought something here, or a person typed
 * one on a page that promised to send it there and nowhere else.
 */
async function isBound({ runs, warehouse, audit }: Context, name: string): Promise<boolean> {
  if (warehouse.states(name).length > 0) return true;
  if (await audit.has(typedAction, name)) return true;
  return (await runs.list({ connector: name, status: 'succeeded' }, { limit: 1 })).items.length > 0;
}

/** The change that makes a connector what the config file says: what the file does not have is taken away. */
export function wholly(
  given: Omit<z.infer<typeof registerSchema>, 'test'>,
  before: Connector,
): Readonly<Record<string, unknown>> {
  if (given.type !== before.type) throw otherType(given, before);
  const earlier = earlierStream(given);
  const gone = Object.keys(before.config).filter((key) => given.config[key] === undefined);
  return {
    connector: given.name,
    config: { ...given.config, ...Object.fromEntries(gone.map((key) => [key, null])) },
    streams: earlier === null ? given.streams : [...given.streams, earlier],
    schedule: given.schedule ?? '',
    timezone: given.timezone ?? '',
    enabled: given.enabled,
    description: given.description ?? '',
  };
}

function otherType(
  { name, type }: { readonly name: string; readonly type: string },
  before: Connector,
): MillraceError {
  return new MillraceError(
    'invalid_config',
    `"${name}" of the config file is of type "${type}", and the connector of that name is a ${before.type} connector.`,
    {
      hint: `Give the one in the file another name, or delete the one that is there with delete_connector. Nothing was changed.`,
      nextActions: [
        {
          tool: 'get_connector',
          arguments: { connector: name },
          why: 'shows what is registered under that name',
        },
      ],
    },
  );
}

/** Names become table names, and SQLite does not tell `Orders` from `orders`; the schema allows lower case only. */
export function assertStreamNames(streams: readonly Stream[]): void {
  const seen = new Set<string>();
  for (const { name } of streams) {
    if (seen.has(name)) {
      throw new MillraceError('invalid_config', `Two streams are named "${name}".`, {
        hint: 'Give each stream of a connector its own name; it becomes the table <connector>__<stream>.',
      });
    }
    seen.add(name);
  }
}

interface Fields {
  readonly name: string;
  readonly type: string;
  readonly config: Connector['config'];
  readonly streams: readonly Stream[];
  readonly schedule?: string | undefined;
  readonly timezone?: string | undefined;
  readonly enabled: boolean;
  readonly description?: string | undefined;
}

/** The record of these fields; empty ones are none. */
export function connectorOf(given: Fields): Connector {
  return {
    name: given.name,
    type: given.type,
    config: given.config,
    streams: given.streams,
    ...(given.schedule ? { schedule: given.schedule } : {}),
    ...(given.timezone ? { timezone: given.timezone } : {}),
    enabled: given.enabled,
    ...(given.description ? { description: given.description } : {}),
  };
}

/** Whether the change is one of when it runs. */
export function isRescheduled(change: Readonly<Record<string, unknown>>): boolean {
  return ['schedule', 'timezone', 'enabled'].some((field) => change[field] !== undefined);
}

/** Fields given replace fields kept; null removes one. */
function mergeConfig(before: Connector['config'], change: Connector['config']): Record<string, unknown> {
  const merged: Record<string, unknown> = { ...before };
  for (const [key, value] of Object.entries(change)) {
    if (value === null) delete merged[key];
    else merged[key] = value;
  }
  return merged;
}

function changedStreams(
  before: readonly Stream[],
  change: {
    readonly streams?: readonly Stream[] | undefined;
    readonly add_streams?: readonly Stream[] | undefined;
    readonly remove_streams?: readonly string[] | undefined;
  },
): readonly Stream[] {
  const base = change.streams ?? before;
  const removed = new Set(change.remove_streams ?? []);
  for (const name of removed) {
    if (base.some((stream) => stream.name === name)) continue;
    throw new MillraceError('invalid_config', `There is no stream "${name}" to remove.`, {
      hint: suggestion(
        name,
        base.map((stream) => stream.name),
      ),
    });
  }
  return [...base.filter((stream) => !removed.has(stream.name)), ...(change.add_streams ?? [])];
}
