/** What types and catalogue entries of MySQL and MariaDB say about a column that could be a cursor. */

import type { CandidateColumn, CandidateKind } from '../sql/candidates.ts';
import type { ColumnFacts } from '../sql/cursor-candidates.ts';
import { plain } from '../sql/names.ts';
import type { CatalogueColumn, CatalogueIndex } from './catalogue.ts';
import type { SourceType } from './types.ts';

/** What a column of this type could follow. */
function candidateKind({ name }: SourceType): CandidateKind {
  if (name === 'datetime' || name === 'timestamp' || name === 'date') return 'time';
  return name === 'int' || name === 'bigint' || name === 'mediumint' ? 'integer' : 'other';
}

/** A column, as far as it may serve as a cursor: of a query only name and type are known. */
export function candidateOf(
  name: string,
  type: SourceType,
  catalogue: CatalogueColumn | null,
): CandidateColumn {
  return { name, kind: candidateKind(type), follows: catalogue !== null && ownClock(catalogue) !== null };
}

/** A trigger that runs before each UPDATE. */
export interface UpdateTrigger {
  readonly name: string;
  readonly body: string;
}

/** What the catalogue knows about a table besides its columns. */
export interface TableCatalogue {
  readonly indexes: readonly CatalogueIndex[];
  readonly triggers: readonly UpdateTrigger[];
}

/** What the catalogue says of a column, in words that fit every SQL database. */
export function columnFacts(column: CatalogueColumn, { indexes, triggers }: TableCatalogue): ColumnFacts {
  const leading = indexes.filter(({ parts: [first] }) => first?.column === column.name && !first.prefix);
  const counted = leading
    .map(({ parts: [first] }) => first?.distinct ?? null)
    .find((count) => count !== null);
  return {
    ...candidateOf(column.name, column.type, column),
    notNull: column.notNull,
    indexed: leading.some(({ serves }) => serves),
    unique: leading.some(({ unique, parts }) => unique && parts.length === 1),
    keptBy: ownClock(column) ?? setByTrigger(column.name, triggers),
    merits: merits(column),
    nullShare: null,
    distinct: counted ?? null,
    caveats: caveats(column),
  };
}

/** What the server itself does to keep the column current; null when it does nothing. */
function ownClock({ extra, expression }: CatalogueColumn): string | null {
  if (/on update current_timestamp/i.test(extra)) return 'ON UPDATE CURRENT_TIMESTAMP keeps it current';
  return expression === 'ROW START' ? 'system versioning sets it with every change' : null;
}

function setByTrigger(column: string, triggers: readonly UpdateTrigger[]): string | null {
  const name = column.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&');
  const sets = new RegExp(`\\bNEW\\s*\\.\\s*(?:\`${name}\`|${name})\\s*:?=`, 'iu');
  const trigger = triggers.find(({ body }) => sets.test(body));
  return trigger === undefined ? null : `trigger "${plain(trigger.name, 64)}" sets it on UPDATE`;
}

function merits({ type, fill, extra }: CatalogueColumn): readonly string[] {
  const found: string[] = [];
  if (/^current_timestamp/i.test(fill)) found.push("filled from the server's clock by default");
  if (/auto_increment/i.test(extra)) found.push('auto_increment fills it');
  if (/^nextval\(/i.test(fill)) found.push('filled from a sequence');
  if (type.name === 'timestamp') found.push('kept in UTC: one order for writers in every time zone');
  return found;
}

function caveats({ type, fraction }: CatalogueColumn): readonly string[] {
  const found: string[] = [];
  if (type.name === 'date') found.push('keeps days only: the newest day is read again in every run');
  else if (candidateKind(type) === 'time' && fraction === 0)
    found.push(
      'keeps whole seconds: rows of one second tie, and the newest second is read again in every run',
    );
  if (type.name === 'datetime')
    found.push(
      'has no time zone: two writers in different zones disagree about order, and local time repeats an hour each autumn',
    );
  return found;
}
