/** Which columns could be a cursor, judged by name and kind of type alone; cursor-candidates.ts adds what the catalogue knows. */

/** What a column could follow: moments, numbers that are given out in order, or nothing. */
export type CandidateKind = 'time' | 'integer' | 'other';

export interface CandidateColumn {
  readonly name: string;
  readonly kind: CandidateKind;
  /** The database itself sets it on every change of the row, whatever its name is. */
  readonly follows?: boolean;
}

/** Names of columns that change with every change of the row, best first. */
const changeNames = [
  /^(updated|modified|changed)(_?at|_?on|_?time|_?ts|_?date)?$/i,
  /(updat|modif|chang|last_?(write|edit|touch)|sync)/i,
];
const createNames =
  /^(created|inserted|recorded|logged|occurred|event)(_?at|_?on|_?time|_?ts|_?date)?$|^(ts|time|timestamp)$/i;
const numberNames = /^(id|seq|sequence|version|revision|row_?version|lsn|offset|position)$|_(seq|version)$/i;

/** How well a column would do: 3 follows every change, 2 follows new rows by time, 1 by number, 0 not at all. */
export function candidateScore(column: CandidateColumn): 0 | 1 | 2 | 3 {
  const time = column.kind === 'time';
  if (time && (column.follows || saysChange(column.name))) return 3;
  if (time && createNames.test(column.name)) return 2;
  if (column.kind === 'integer' && numberNames.test(column.name)) return 1;
  return time ? 2 : 0;
}

/** Whether a name is one that columns have which change with every change of the row. */
export function saysChange(name: string): boolean {
  return changeNames.some((pattern) => pattern.test(name));
}

/** The best three names, best first. */
export function candidateNames(columns: readonly CandidateColumn[]): readonly string[] {
  return columns
    .map((column) => ({ name: column.name, score: candidateScore(column) }))
    .filter(({ score }) => score > 0)
    .sort((a, b) => b.score - a.score)
    .slice(0, 3)
    .map(({ name }) => name);
}
