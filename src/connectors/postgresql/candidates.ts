/** Which columns could be a cursor, judged by name and type alone; discover.ts adds what the statistics know. */

const timeType = /^(timestamp|date\b)/;
const integerType = /^(bigint|integer)/;
/** Names of columns that change with every change of the row, best first. */
const changeNames = [
  /^(updated|modified|changed)(_?at|_?on|_?time|_?ts|_?date)?$/i,
  /(updat|modif|chang|last_?(write|edit|touch)|sync)/i,
];
const createNames =
  /^(created|inserted|recorded|logged|occurred|event)(_?at|_?on|_?time|_?ts|_?date)?$|^(ts|time|timestamp)$/i;
const numberNames = /^(id|seq|sequence|version|revision|row_?version|lsn|offset|position)$|_(seq|version)$/i;

export interface CandidateColumn {
  readonly name: string;
  readonly typeName: string;
}

/** How well a column would do: 3 follows every change, 2 follows new rows by time, 1 by number, 0 not at all. */
export function candidateScore(column: CandidateColumn): 0 | 1 | 2 | 3 {
  const time = timeType.test(column.typeName);
  if (time && changeNames.some((pattern) => pattern.test(column.name))) return 3;
  if (time && createNames.test(column.name)) return 2;
  if (integerType.test(column.typeName) && numberNames.test(column.name)) return 1;
  return time ? 2 : 0;
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
