/** Values compared by the server as it compares the column itself: by its type, and a text by its collation. */

import { fromWhere, type PlannedColumn } from './plan.ts';
import type { Shape } from './shape.ts';

/** A SELECT of the position's text of the greatest of these values, each given as SQL. */
export function asGreatest(shape: Shape, column: PlannedColumn, values: readonly string[]): string {
  const { travel } = column;
  return `SELECT ${travel.positionOf('x')} FROM ${typed(shape, column, values)} ORDER BY x DESC LIMIT 1`;
}

/** A SELECT of 1 when the first of two values comes before the second, else of 0. */
export function asOrdered(
  shape: Shape,
  column: PlannedColumn,
  [first, second]: readonly [string, string],
): string {
  const one = typed(shape, column, [first], 'one');
  return `SELECT one.x < two.x FROM ${one} JOIN ${typed(shape, column, [second], 'two')}`;
}

/** The column's own type and collation win over those of literals in a union with it. */
function typed(shape: Shape, column: PlannedColumn, values: readonly string[], alias = 'these'): string {
  const none = `SELECT ${column.ref} AS x${fromWhere(shape, ['FALSE'])}`;
  return `(${[none, ...values.map((value) => `SELECT ${value}`)].join(' UNION ALL ')}) AS ${alias}`;
}
