/** Where the records stand in a page, when nobody said it. */

import {
  emptyLists,
  hasIdentity,
  isListName,
  isOnlyListName,
  isPartOfRecord,
  listsOfOne,
} from './hidden-lists.ts';

/** What looking at a page found. */
export interface RecordsFound {
  /** A list; one record; nothing at all, which tells nothing of other pages; or somebody has to say which list it is. */
  readonly is: 'list' | 'record' | 'nothing' | 'unclear';
  /** JMESPath to the list; null: the page is the list itself, or the one record. */
  readonly path: string | null;
  /** As a clause: `the only list in the page`. */
  readonly why: string;
  /** Other lists of objects in the page, as JMESPath. */
  readonly others: readonly string[];
}

/** Lists that stand beside the records, also where the records' own list is empty. */
const asideNames: ReadonlySet<string> = new Set([
  ...['errors', 'warnings', 'messages', 'notices', 'links', '_links', 'included', 'facets', 'filters'],
]);
const depthMax = 3;

/**
 * Finds the list of records in a parsed page: the page itself, the one list of objects in it, or the one whose name says so.
 * An object that has an id of its own is one record, and its lists are parts of it. Without a list it may hold one all the
 * same, that no list can be seen in: `hidden-lists.ts`.
 */
export function findRecords(page: unknown, format: 'json' | 'xml' = 'json'): RecordsFound {
  if (Array.isArray(page)) return { is: 'list', path: null, why: 'the page is a list', others: [] };
  if (page === null || (isObject(page) && Object.keys(page).length === 0)) return nothing;
  if (!isObject(page)) return record('the page is one value');
  const lists = listsIn(page, [], 0);
  const proper = lists.filter((path) => !asideNames.has(path.at(-1)?.toLowerCase() ?? ''));
  const candidates = proper.length > 0 ? proper : lists;
  const named = candidates.filter((path) => isListName(path.at(-1) ?? ''));
  const paths = candidates.map(jmesPathOf);
  const others = (chosen: string): readonly string[] => paths.filter((path) => path !== chosen);
  const [name, only] = [named[0], candidates[0]];
  if (name !== undefined && named.length === 1) {
    const path = jmesPathOf(name);
    return {
      is: 'list',
      path,
      why: `"${path}" is what lists of records are called`,
      others: others(path),
    };
  }
  if (hasIdentity(page)) return record('the page is one record with an id of its own');
  const hidden = proper.length === 0 ? hiddenList(page, format) : null;
  if (hidden !== null) return hidden;
  if (only === undefined) return record('the page holds no list, so it is one record');
  if (candidates.length === 1) {
    const path = jmesPathOf(only);
    return { is: 'list', path, why: 'it is the only list in the page', others: [] };
  }
  return unclear('the page holds several lists', paths);
}

/** A list of one, or of none, that only names tell; null where nothing speaks for one. */
function hiddenList(page: Readonly<Record<string, unknown>>, format: 'json' | 'xml'): RecordsFound | null {
  const single = format === 'xml' ? listsOfOne(page) : [];
  const ones = single.map(jmesPathOf);
  if (single.some((path) => isPartOfRecord(page, path)))
    return unclear('the page has an id of its own, and what may be a list of one', ones);
  if (ones.length > 1) return unclear('the page holds several lists of one', ones);
  if (ones[0] !== undefined)
    return { is: 'list', path: ones[0], why: 'by its name it is a list, of one', others: [] };
  const { paths, alone } = emptyLists(page, format);
  const named = paths.filter((path) => isListName(path.at(-1) ?? ''));
  const places = (alone && named.length === 1 ? named : paths).map(jmesPathOf);
  // How the elements of an empty one are called, XML does not say.
  if (alone && format === 'xml' && (paths.length > 0 || Object.values(page).includes(null))) return nothing;
  if (alone && places.length === 1)
    return { is: 'list', path: places[0] ?? null, why: `"${places[0]}" is where a list stands`, others: [] };
  if (alone && places.length > 1) return unclear('null stands where several lists could', places);
  const only = paths.find(
    (path) => path.length <= (format === 'xml' ? 2 : 1) && isOnlyListName(path.at(-1) ?? ''),
  );
  if (only === undefined) return null;
  const path = jmesPathOf(only);
  return unclear(`"${path}" is null, and what stands beside it may be one record`, [path]);
}

/** Where a page has records in a list whose name says that it holds them, whatever was declared; as JMESPath. */
export function namedLists(page: unknown): readonly string[] {
  if (!isObject(page)) return [];
  return listsIn(page, [], 0)
    .filter((path) => {
      const list = path.reduce<unknown>((value, key) => (isObject(value) ? value[key] : undefined), page);
      return isListName(path.at(-1) ?? '') && Array.isArray(list) && list.length > 0;
    })
    .map(jmesPathOf);
}

/** A path of keys in JMESPath; what is no plain identifier is quoted. */
export function jmesPathOf(keys: readonly string[]): string {
  return keys.map((key) => (/^[A-Za-z_]\w*$/.test(key) ? key : JSON.stringify(key))).join('.');
}

/** Lists of objects, and empty ones, in objects of objects. Lists of plain values are never records. */
function listsIn(
  value: Readonly<Record<string, unknown>>,
  path: readonly string[],
  depth: number,
): readonly (readonly string[])[] {
  return Object.entries(value).flatMap(([key, inner]) => {
    const here = [...path, key];
    if (Array.isArray(inner)) return inner.every(isObject) ? [here] : [];
    return isObject(inner) && depth < depthMax - 1 ? listsIn(inner, here, depth + 1) : [];
  });
}

const nothing: RecordsFound = { is: 'nothing', path: null, why: 'the page holds nothing', others: [] };

function unclear(why: string, others: readonly string[]): RecordsFound {
  return { is: 'unclear', path: null, why, others };
}

function record(why: string): RecordsFound {
  return { is: 'record', path: null, why, others: [] };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
