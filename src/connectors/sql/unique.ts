/** Keys of a table: which are to be had, and what is said of one that does not hold. */

import { MillraceError } from '../../core/errors.ts';
import { type ChoiceColumn, type ChoiceShape, described } from './choices.ts';
import { plain } from './names.ts';

/** Columns whose values no two rows can share and no row can lack, because an index says so. */
export interface UniqueKey {
  readonly primary: boolean;
  readonly columns: readonly string[];
}

/** What is said when a unique index has to serve as the key. */
export function uniqueServes(key: UniqueKey): string {
  return `There is no primary key; the unique index on (${key.columns.map((name) => plain(name, 63)).join(', ')}) serves as one.`;
}

/** A declared key that names a column twice. */
export function twice(key: readonly string[]): MillraceError {
  return new MillraceError(
    'invalid_config',
    `primary_key names a column twice: ${key.map((name) => plain(name, 63)).join(', ')}.`,
    {
      hint: 'Name each column of the key once.',
    },
  );
}

/** Rows that a declared key does not identify, since they have NULL in it. */
export function nullsInKey(
  shape: ChoiceShape<ChoiceColumn>,
  key: readonly ChoiceColumn[],
  rows: string,
): MillraceError {
  return new MillraceError(
    'key_not_unique',
    `${rows} rows of ${described(shape)} have NULL in the declared key (${names(key)}).`,
    {
      hint: 'A key identifies every row: choose other columns, leave such rows out with `where`, or use mode "replace".',
    },
  );
}

/** Rows that share a declared key: how many, how many keys, and one of them. */
export function sharedKey(
  shape: ChoiceShape<ChoiceColumn>,
  key: readonly ChoiceColumn[],
  found: { readonly rows: string; readonly keys: string; readonly sample: string },
): MillraceError {
  return new MillraceError(
    'key_not_unique',
    `${found.rows} rows of ${described(shape)} share ${found.keys} values of the declared key (${names(key)}), for example (${plain(found.sample, 80)}).`,
    {
      hint: 'A merge would keep one row of each. Add the columns that make a row unique to primary_key, or use mode "replace" or "append" without a key.',
    },
  );
}

function names(key: readonly ChoiceColumn[]): string {
  return key.map((column) => plain(column.name, 63)).join(', ');
}
