import type { Session } from './session.ts';
import type { Shape } from './shape.ts';

/**
 * What the engine of a table knows of transactions. `innodb`: what a view or query stands on is taken for it too.
 * `other`: transactions that innodb_trx does not show, as those of RocksDB. `none`: MyISAM, Aria, MEMORY: every
 * statement is seen at once, row by row.
 */
export interface Engine {
  readonly name: string;
  readonly transactions: 'innodb' | 'other' | 'none';
}

/** Asks what the engine of the stream's table is. */
export async function engineOf(
  { session, signal }: { readonly session: Session; readonly signal: AbortSignal },
  { relation }: Shape,
): Promise<Engine> {
  const name = relation?.engine ?? '';
  if (name === '' || name === 'InnoDB') return { name: 'InnoDB', transactions: 'innodb' };
  const [row] = await session.query(
    'SELECT transactions FROM information_schema.engines WHERE engine = ?',
    [name],
    { signal },
  );
  return { name, transactions: row?.[0] === 'YES' ? 'other' : 'none' };
}
