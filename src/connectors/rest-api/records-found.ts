/** Where the records stand in a page, when nobody said it. */

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

/** Names that APIs give to the list of a page, whatever it lists. */
const listNames: ReadonlySet<string> = new Set([
  ...['data', 'items', 'results', 'result', 'records', 'rows', 'value', 'values', 'entries', 'entities'],
  ...[
    'list',
    'content',
    'contents',
    'elements',
    'hits',
    'objects',
    'docs',
    'documents',
    'members',
    'collection',
  ],
]);
/** Lists that stand beside the records, also where the records' own list is empty. */
const asideNames: ReadonlySet<string> = new Set([
  ...['errors', 'warnings', 'messages', 'notices', 'links', '_links', 'included', 'facets', 'filters'],
]);
const identityNames: ReadonlySet<string> = new Set(['id', '_id', 'uuid', 'guid']);
const depthMax = 3;

/**
 * Finds the list of records in a parsed page: the page itself, the one list of objects in it, or the one whose name says so.
 * An object that has an id of its own is one record, and its lists are parts of it.
 */
export function findRecords(page: unknown): RecordsFound {
  if (Array.isArray(page)) return { is: 'list', path: null, why: 'the page is a list', others: [] };
  if (page === null || (isObject(page) && Object.keys(page).length === 0))
    return { is: 'nothing', path: null, why: 'the page holds nothing', others: [] };
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
  if (Object.keys(page).some((key) => identityNames.has(key.toLowerCase()) && !isObject(page[key])))
    return record('the page is one record with an id of its own');
  if (only === undefined) return record('the page holds no list, so it is one record');
  if (candidates.length === 1) {
    const path = jmesPathOf(only);
    return { is: 'list', path, why: 'it is the only list in the page', others: [] };
  }
  return { is: 'unclear', path: null, why: 'the page holds several lists', others: paths };
}

/** Whether a list of that name holds the records, whatever they are. */
export function isListName(name: string): boolean {
  return listNames.has(name.toLowerCase());
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

function record(why: string): RecordsFound {
  return { is: 'record', path: null, why, others: [] };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
