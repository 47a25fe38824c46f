import { described } from '../sql/choices.ts';
import { plain } from '../sql/names.ts';
import type { Shape, ShapeContext, SourceColumn } from './shape.ts';

/** Storage engines that show a reader one moment of the table however long it reads. */
const snapshotEngines = new Set(['', 'InnoDB', 'ROCKSDB', 'ROCKSDB_SE', 'TokuDB', 'ndbcluster']);

/** Whether a table can be read as it was at one moment, and shows who is still writing. */
export function hasSnapshots(engine: string): boolean {
  return snapshotEngines.has(engine);
}

/** What a reader of this stream should know that no choice says: what lands besides the obvious, and what cannot. */
export async function readingNotes(
  context: ShapeContext,
  { shape, columns, cursor }: Read,
): Promise<readonly string[]> {
  const notes: string[] = [];
  const named = (matches: RegExp): string =>
    columns
      .filter(({ catalogue }) => matches.test(catalogue?.extra ?? ''))
      .map(({ name }) => `"${plain(name, 64)}"`)
      .join(', ');
  const generated = named(/\b(VIRTUAL|STORED|PERSISTENT) GENERATED\b/i);
  const invisible = named(/\bINVISIBLE\b/i);
  if (generated !== '')
    notes.push(`Generated columns land with the values the server computes: ${generated}.`);
  if (invisible !== '')
    notes.push(`Invisible columns, which SELECT * would leave out, are read as well: ${invisible}.`);
  if (shape.relation?.versioned)
    notes.push('The table is system-versioned: its current rows are read, not their earlier versions.');
  if (shape.relation && !hasSnapshots(shape.relation.engine))
    notes.push(
      `${described(shape)} is a table of ${plain(shape.relation.engine, 40)}, which has no snapshots: what is written while it is read may land in part, and comes whole with a later run only if its cursor says so. ALTER TABLE … ENGINE=InnoDB mends that.`,
    );
  if (cursor) notes.push(...(await cursorNotes(context, shape, cursor)));
  return notes;
}

interface Read {
  readonly shape: Shape;
  readonly columns: readonly SourceColumn[];
  readonly cursor: SourceColumn | null;
}

async function cursorNotes(
  context: ShapeContext,
  shape: Shape,
  cursor: SourceColumn,
): Promise<readonly string[]> {
  const notes: string[] = [];
  const cascades = await cascadesOf(context, shape);
  if (cascades.length > 0)
    notes.push(
      `Foreign keys change rows of ${described(shape)} by themselves (${cascades.join(', ')}), and then the server runs neither ON UPDATE CURRENT_TIMESTAMP nor triggers: such changes are not found by "${plain(cursor.name, 64)}". A run in mode "replace" brings them.`,
    );
  if (/auto_increment/i.test(cursor.catalogue?.extra ?? ''))
    notes.push(...(await numberNotes(context, cursor)));
  return notes;
}

const namedMax = 5;

/** Foreign keys of the table that write into it when its parent changes: tried on both servers, no trigger sees it. */
async function cascadesOf(
  { session, signal }: ShapeContext,
  { relation }: Shape,
): Promise<readonly string[]> {
  if (!relation || relation.kind === 'view') return [];
  const rows = await session.query(
    `SELECT constraint_name, update_rule, delete_rule FROM information_schema.referential_constraints
     WHERE constraint_schema = ? AND table_name = ? AND (update_rule IN ('CASCADE', 'SET NULL') OR delete_rule = 'SET NULL')`,
    [relation.schema, relation.name],
    { signal },
  );
  return rows.slice(0, namedMax).map(([name, onUpdate, onDelete]) => {
    const rules = [
      ...(onUpdate === 'CASCADE' || onUpdate === 'SET NULL' ? [`ON UPDATE ${onUpdate}`] : []),
      ...(onDelete === 'SET NULL' ? ['ON DELETE SET NULL'] : []),
    ];
    return `"${plain(name ?? '', 64)}" ${rules.join(' ')}`;
  });
}

/** Several writers that share out numbers by a step give them out in no order of time. */
async function numberNotes(
  { session, signal }: ShapeContext,
  cursor: SourceColumn,
): Promise<readonly string[]> {
  const [row] = await session.query('SELECT @@GLOBAL.auto_increment_increment', [], { signal });
  const step = Number(row?.[0] ?? 1);
  if (!(step > 1)) return [];
  return [
    `auto_increment_increment is ${step}: several servers give out the numbers of "${plain(cursor.name, 64)}", in no common order, and rows can be missed. Give the stream a lookback, such as ${step * 1_000}.`,
  ];
}
