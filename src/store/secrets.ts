import type { Kysely } from 'kysely';
import type { Database } from './database.ts';
import type { SealedSecret, SecretStore } from './store.ts';

/** Sealed values by owner. What is in them the store does not know. */
export function secretStore(db: Kysely<Database>, now: () => Date): SecretStore {
  return {
    put: (secret) => putSecret(db, secret, now().getTime()),

    get: async (owner) => {
      const row = await db.selectFrom('secrets').selectAll().where('owner', '=', owner).executeTakeFirst();
      return row ? { owner: row.owner, keyId: row.key_id, sealed: row.sealed } : null;
    },

    list: async (prefix) => {
      const rows = await db
        .selectFrom('secrets')
        .select(['owner', 'created_at'])
        .where('owner', '>=', prefix)
        .where('owner', '<', afterPrefix(prefix))
        .orderBy('owner')
        .execute();
      return rows.map((row) => ({ owner: row.owner, created_at: new Date(row.created_at).toISOString() }));
    },

    remove: async (owner) => {
      const { numDeletedRows } = await db.deleteFrom('secrets').where('owner', '=', owner).executeTakeFirst();
      return numDeletedRows > 0n;
    },

    keyIds: async () => {
      const rows = await db
        .selectFrom('secrets')
        .select(({ fn }) => ['key_id', fn.countAll<number>().as('secrets')])
        .groupBy('key_id')
        .orderBy('key_id')
        .execute();
      return rows.map((row) => ({ keyId: row.key_id, secrets: row.secrets }));
    },

    sealedByOthers: async (keyId, { after, limit }) => {
      const rows = await db
        .selectFrom('secrets')
        .selectAll()
        .where('key_id', '<>', keyId)
        .where('owner', '>', after)
        .orderBy('owner')
        .limit(limit)
        .execute();
      return rows.map((row) => ({ owner: row.owner, keyId: row.key_id, sealed: row.sealed }));
    },

    exchange: (pairs) =>
      db.transaction().execute(async (trx) => {
        let exchanged = 0;
        for (const { from, to } of pairs) {
          const { numUpdatedRows } = await trx
            .updateTable('secrets')
            .set({ key_id: to.keyId, sealed: to.sealed })
            .where('owner', '=', from.owner)
            .where('key_id', '=', from.keyId)
            .where('sealed', '=', from.sealed)
            .executeTakeFirst();
          exchanged += Number(numUpdatedRows);
        }
        return exchanged;
      }),

    retire: (keyId) =>
      db.transaction().execute(async (trx) => {
        const needed = await trx
          .selectFrom('secrets')
          .select('owner')
          .where('key_id', '=', keyId)
          .limit(1)
          .executeTakeFirst();
        if (needed) return false;
        await trx
          .insertInto('retired_keys')
          .values({ key_id: keyId, retired_at: now().getTime() })
          .onConflict((conflict) => conflict.doNothing())
          .execute();
        return true;
      }),
  };
}

/** Stores or replaces one sealed value. */
export async function putSecret(db: Kysely<Database>, secret: SealedSecret, at: number): Promise<void> {
  const value = { key_id: secret.keyId, sealed: secret.sealed, updated_at: at };
  await db
    .insertInto('secrets')
    .values({ owner: secret.owner, created_at: at, ...value })
    .onConflict((conflict) => conflict.column('owner').doUpdateSet(value))
    .execute();
}

/** Removes every sealed value that belongs to a connector: its own, and what it kept while it worked. */
export async function dropSecrets(db: Kysely<Database>, connector: string): Promise<void> {
  for (const prefix of [ownPrefix(connector), keptPrefix(connector)]) {
    await db
      .deleteFrom('secrets')
      .where('owner', '>=', prefix)
      .where('owner', '<', afterPrefix(prefix))
      .execute();
  }
}

/**
 * Removes the connector's own sealed values that its config (as JSON) names no more: a password that was replaced by
 * a reference is not kept. Own values are named `${secret:<connector>.<path>}` there.
 */
export async function dropUnusedSecrets(
  db: Kysely<Database>,
  connector: string,
  config: string,
): Promise<void> {
  const prefix = ownPrefix(connector);
  const rows = await db
    .selectFrom('secrets')
    .select('owner')
    .where('owner', '>=', prefix)
    .where('owner', '<', afterPrefix(prefix))
    .execute();
  for (const { owner } of rows) {
    const reference = `\${secret:${connector}.${owner.slice(prefix.length)}}`;
    if (config.includes(reference)) continue;
    await db.deleteFrom('secrets').where('owner', '=', owner).execute();
  }
}

/** As the vault's `ownerOf` writes it; `test/unit/vault.test.ts` holds the two together. */
function ownPrefix(connector: string): string {
  return `connector/${connector}/`;
}

/** As the vault's `keptOwner` writes it; `test/contract/rest-auth.test.ts` holds the two together. */
function keptPrefix(connector: string): string {
  return `kept/${connector}/`;
}

/** The first text after everything that begins with the prefix; owners are text without U+FFFF. */
function afterPrefix(prefix: string): string {
  return `${prefix}\uffff`;
}
