/** How a resolved stream is laid over what the source has now, and what is said when the two no longer agree. */

import { MillraceError } from '../../core/errors.ts';
import type { ResolvedStream } from '../../core/model.ts';
import { plain } from './names.ts';

interface Named {
  readonly name: string;
  readonly typeName: string;
}

/** Lays the stream over these columns. Throws `schema_changed` when one is gone or has another type. */
export function layOver<S extends Named, P extends Named>(
  stream: ResolvedStream,
  columns: readonly S[],
  planned: (column: S, index: number) => P,
): { readonly columns: readonly P[]; readonly key: readonly P[]; readonly cursor: P | null } {
  const byName = new Map(columns.map((column) => [column.name, column]));
  const laid = stream.columns.map((wanted, index) => {
    const column = byName.get(wanted.name);
    if (!column) throw schemaChanged(`column "${plain(wanted.name, 63)}" is gone`);
    if (column.typeName !== wanted.sourceType) {
      throw schemaChanged(
        `column "${plain(wanted.name, 63)}" is now ${plain(column.typeName, 100)} and was ${plain(wanted.sourceType, 100)}`,
      );
    }
    return planned(column, index);
  });
  const find = (name: string): P => {
    const column = laid.find((candidate) => candidate.name === name);
    if (!column) throw schemaChanged(`column "${plain(name, 63)}" is gone`);
    return column;
  };
  return {
    columns: laid,
    key: stream.primaryKey.map(find),
    cursor: stream.cursor === null ? null : find(stream.cursor),
  };
}

/** The stream is not what it was when it was resolved: a retry resolves it anew. */
export function schemaChanged(what: string, cause?: unknown): MillraceError {
  return new MillraceError('schema_changed', `The source changed while it was being looked at: ${what}.`, {
    hint: 'Millrace tries again with the new shape by itself. If the stream names that column, correct it with update_connector.',
    cause,
  });
}

/**
 * What to throw when the server does not know something that the catalogue named a moment ago: `schema_changed` when a
 * second look shows other columns, the error itself when it does not (the stream's own condition may be what is wrong).
 */
export async function changedMeanwhile(
  columns: readonly unknown[],
  lookAgain: () => Promise<{ readonly columns: readonly unknown[] }>,
  error: unknown,
): Promise<unknown> {
  if (!(error instanceof MillraceError) || error.code !== 'not_found_at_source') return error;
  try {
    const now = await lookAgain();
    if (JSON.stringify(now.columns) === JSON.stringify(columns)) return error;
  } catch (second) {
    if (!(second instanceof MillraceError) || second.code !== 'not_found_at_source') return error;
  }
  return schemaChanged('a column or the table is gone', error);
}
