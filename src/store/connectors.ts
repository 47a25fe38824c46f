import type { Kysely, Transaction } from 'kysely';
import { MillraceError } from '../core/errors.ts';
import type { Connector, Page, PageRequest, Stream } from '../core/model.ts';
import { suggestion } from '../core/nearest.ts';
import { pageFetch, pageOf, pageStart } from '../core/paging.ts';
import { closeBreaker } from './breakers.ts';
import type { ConnectorRow, Database } from './database.ts';
import { endRunsOf } from './run-end.ts';
import { dropSecrets, dropUnusedSecrets, putSecret } from './secrets.ts';
import type { ConnectorRecord, ConnectorStore, SealedSecret } from './store.ts';

/** Connectors with their streams, in order. */
export function connectorStore(db: Kysely<Database>, now: () => Date): ConnectorStore {
  return {
    insert: (connector, sealed = []) =>
      db.transaction().execute(async (trx) => {
        const taken = await trx
          .selectFrom('connectors')
          .select('name')
          .where('name', '=', connector.name)
          .executeTakeFirst();
        if (taken) throw nameTaken(connector.name);
        const at = now().getTime();
        const row = { ...rowOf(connector), created_at: at, updated_at: at };
        await trx.insertInto('connectors').values(row).execute();
        await writeStreams(trx, connector);
        await writeSecrets(trx, sealed, at);
        return recordOf(row, connector.streams);
      }),

    get: (name) => getRecord(db, name),

    list: async (filter, page) => listRecords(db, filter, page),

    names: async () =>
      (await db.selectFrom('connectors').select('name').orderBy('name').execute()).map(({ name }) => name),

    update: (connector, sealed = [], seen) =>
      db.transaction().execute(async (trx) => {
        const before = await getRecord(trx, connector.name);
        if (seen !== undefined && !isSame(seen, before)) return null;
        const at = now().getTime();
        const row = { ...rowOf(connector), created_at: Date.parse(before.created_at), updated_at: at };
        await trx.updateTable('connectors').set(row).where('name', '=', connector.name).execute();
        await trx.deleteFrom('streams').where('connector', '=', connector.name).execute();
        await writeStreams(trx, connector);
        await writeSecrets(trx, sealed, at);
        await dropUnusedSecrets(trx, connector.name, row.config);
        // What it failed with may be mended by this.
        if (sealed.length > 0 || isRedefined(before, connector)) await closeBreaker(trx, connector.name);
        return recordOf(row, connector.streams);
      }),

    remove: (name) =>
      db.transaction().execute(async (trx) => {
        await getRecord(trx, name);
        await endRunsOf(trx, name, now());
        await trx.deleteFrom('connectors').where('name', '=', name).execute();
        await dropSecrets(trx, name);
      }),
  };
}

async function listRecords(
  db: Kysely<Database>,
  filter: { readonly type?: string; readonly enabled?: boolean },
  page: PageRequest,
): Promise<Page<ConnectorRecord>> {
  const after = pageStart(page);
  let query = db.selectFrom('connectors').selectAll().orderBy('name').limit(pageFetch(page));
  if (after !== null) query = query.where('name', '>', after);
  if (filter.type !== undefined) query = query.where('type', '=', filter.type);
  if (filter.enabled !== undefined) query = query.where('enabled', '=', filter.enabled ? 1 : 0);
  const rows = await query.execute();
  const streams = await streamsOf(
    db,
    rows.map(({ name }) => name),
  );
  return pageOf(rows, page, {
    item: (row) => recordOf(row, streams.get(row.name) ?? []),
    key: (row) => row.name,
  });
}

async function getRecord(db: Kysely<Database>, name: string): Promise<ConnectorRecord> {
  const row = await db.selectFrom('connectors').selectAll().where('name', '=', name).executeTakeFirst();
  if (!row) throw await notFound(db, name);
  return recordOf(row, (await streamsOf(db, [name])).get(name) ?? []);
}

/** Throws `connector_not_found` unless the connector is there. */
export async function assertConnector(db: Kysely<Database>, name: string): Promise<void> {
  const row = await db.selectFrom('connectors').select('name').where('name', '=', name).executeTakeFirst();
  if (!row) throw await notFound(db, name);
}

async function notFound(db: Kysely<Database>, name: string): Promise<MillraceError> {
  const known = (await db.selectFrom('connectors').select('name').orderBy('name').execute()).map(
    (row) => row.name,
  );
  const hint =
    known.length === 0
      ? 'No connector is registered yet: `register_connector` makes one.'
      : `${suggestion(name, known)} \`list_connectors\` shows all of them.`;
  return new MillraceError('connector_not_found', `There is no connector "${name.slice(0, 60)}".`, {
    hint,
    nextActions: [{ tool: 'list_connectors', arguments: {}, why: 'shows the names that exist' }],
  });
}

function nameTaken(name: string): MillraceError {
  return new MillraceError('connector_exists', `A connector "${name}" is already registered.`, {
    hint: 'Choose another name, or change the one that is there with `update_connector`.',
    nextActions: [
      {
        tool: 'get_connector',
        arguments: { connector: name },
        why: 'shows what is registered under that name',
      },
    ],
  });
}

/** Streams of all these connectors in two reads, not one a connector. SQLite takes 32,766 parameters; a page has 1,001. */
async function streamsOf(
  db: Kysely<Database>,
  names: readonly string[],
): Promise<ReadonlyMap<string, readonly Stream[]>> {
  const streams = new Map<string, Stream[]>();
  if (names.length === 0) return streams;
  const rows = await db
    .selectFrom('streams')
    .select(['connector', 'declared'])
    .where('connector', 'in', names)
    .orderBy('connector')
    .orderBy('position')
    .execute();
  for (const row of rows) {
    const list = streams.get(row.connector) ?? [];
    list.push(JSON.parse(row.declared) as Stream);
    streams.set(row.connector, list);
  }
  return streams;
}

/** Whether two looks at a connector saw the same, whenever that was written. */
function isSame(seen: ConnectorRecord, now: ConnectorRecord): boolean {
  return JSON.stringify({ ...seen, updated_at: now.updated_at }) === JSON.stringify(now);
}

/** Whether something else is asked of the source from now on, or in another way. */
function isRedefined(before: Connector, after: Connector): boolean {
  const asked = ({ config, streams }: Connector): string => JSON.stringify([config, streams]);
  return asked(before) !== asked(after);
}

async function writeStreams(trx: Transaction<Database>, connector: Connector): Promise<void> {
  for (const [position, stream] of connector.streams.entries()) {
    const row = { connector: connector.name, position, name: stream.name, declared: JSON.stringify(stream) };
    await trx.insertInto('streams').values(row).execute();
  }
}

async function writeSecrets(
  trx: Transaction<Database>,
  sealed: readonly SealedSecret[],
  at: number,
): Promise<void> {
  for (const secret of sealed) await putSecret(trx, secret, at);
}

function rowOf(connector: Connector): Omit<ConnectorRow, 'created_at' | 'updated_at'> {
  return {
    name: connector.name,
    type: connector.type,
    config: JSON.stringify(connector.config),
    schedule: connector.schedule ?? null,
    timezone: connector.timezone ?? null,
    enabled: connector.enabled ? 1 : 0,
    description: connector.description ?? null,
  };
}

function recordOf(row: ConnectorRow, streams: readonly Stream[]): ConnectorRecord {
  return {
    name: row.name,
    type: row.type,
    config: JSON.parse(row.config) as Readonly<Record<string, unknown>>,
    streams,
    ...(row.schedule === null ? {} : { schedule: row.schedule }),
    ...(row.timezone === null ? {} : { timezone: row.timezone }),
    enabled: row.enabled === 1,
    ...(row.description === null ? {} : { description: row.description }),
    created_at: new Date(row.created_at).toISOString(),
    updated_at: new Date(row.updated_at).toISOString(),
  };
}
