/**
 * Lists that do not look like lists: of one record in XML, where nothing but names tells it from a record's own part, and
 * of none, as null or an empty element.
 */

type Fields = Readonly<Record<string, unknown>>;
type Path = readonly string[];

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
/** Those among them that are fields of records just as well. */
const fieldNames: ReadonlySet<string> = new Set([
  'value',
  'values',
  'result',
  'content',
  'list',
  'collection',
]);
/** What stands in a list is called so, whatever it is. */
const recordNames: ReadonlySet<string> = new Set(['item', 'entry', 'record', 'row']);
/** Lists that have an id of their own. */
const feedNames: ReadonlySet<string> = new Set(['feed', 'channel']);
const identityNames: ReadonlySet<string> = new Set(['id', '_id', 'uuid', 'guid', '@id']);
/** What surrounds a list, by its letters alone. A name that is a record's field as often is not among them. */
const aroundNames =
  /^(total(count|items|records|elements|results|pages|hits)?|count|limit|offset|skip|take|pages?|page(no|number|num|size|count|info|token|index)|perpage|(current|last|first|next|prev|previous)(page|url|uri|link|cursor|token|pageurl|pagetoken)?|numpages|self|href|has(more|next|prev|previous)(page)?|more|(start|end)?cursors?|continuationtoken|meta(data)?|paging|pagination|responsemetadata|links?|success|successful|ok|status|status(code|message)|code|msg|messages?|errors?(code|message|msg|description)?|warnings?|notices?|facets|filters|included|(request|trace|correlation)id|timestamp|apiversion|jsonrpc|object|took|etag|odata\w*|xmlns\w*|xsi\w*)$/;
const depthMax = 3;

/** Whether a list of that name holds the records, whatever they are. */
export function isListName(name: string): boolean {
  return listNames.has(name.toLowerCase());
}

/** Whether an object has an id of its own, so that it is one record. */
export function hasIdentity(value: Fields): boolean {
  return Object.keys(value).some((key) => identityNames.has(key.toLowerCase()) && !isObject(value[key]));
}

/** Whether a field belongs to an answer and not to a record. */
export function isAround(name: string, value: unknown): boolean {
  const letters = name.toLowerCase().replace(/[^a-z]/g, '');
  if (!aroundNames.test(letters)) return false;
  // The status of an order, or the code of a product, is none of an answer.
  if (letters !== 'status' && letters !== 'code') return true;
  return typeof value === 'boolean' || /^(\d+|ok|success\w*|error|fail\w*)$/i.test(String(value));
}

/** In XML: single elements whose name, or whose parent's, says that there could be more of them. */
export function listsOfOne(page: Fields, path: Path = []): readonly Path[] {
  return Object.entries(page).flatMap(([name, inner]) => {
    if (!isObject(inner)) return [];
    const here = [...path, name];
    const deeper = path.length < depthMax - 1 ? listsOfOne(inner, here) : [];
    if (deeper.length > 0) return deeper;
    const elements = Object.keys(inner).filter((key) => !/^[@#]/.test(key));
    return elements
      .filter(
        (element) => isObject(inner[element]) && mayRepeat(local(name), local(element), elements.length),
      )
      .map((element) => [...here, element]);
  });
}

/** Whether a list stands in a record: in an element with an id of its own. */
export function isPartOfRecord(page: Fields, path: Path): boolean {
  const [name = '', ...rest] = path;
  const inner = page[name];
  if (rest.length === 0 || !isObject(inner)) return false;
  return (hasIdentity(inner) && !feedNames.has(local(name))) || isPartOfRecord(inner, rest);
}

function mayRepeat(parent: string, child: string, siblings: number): boolean {
  const plurals = [`${child}s`, `${child}es`, child.replace(/y$/, 'ies'), `${child}list`, `${child}_list`];
  if (plurals.includes(parent) && parent !== child) return true;
  return recordNames.has(child) || parent === `arrayof${child}` || (listNames.has(parent) && siblings === 1);
}

/** What null in the place of a list, or an empty element, is taken for. */
export interface EmptyLists {
  readonly paths: readonly Path[];
  /** Nothing else stands in the page but what surrounds a list. */
  readonly alone: boolean;
}

/** Places of lists that hold nothing: null in JSON, elements without elements in XML. */
export function emptyLists(page: Fields, format: 'json' | 'xml'): EmptyLists {
  const paths: Path[] = [];
  const walk = (value: Fields, path: Path): boolean =>
    Object.entries(value)
      .map(([name, inner]) => {
        if (isAround(name, inner)) return true;
        const here = [...path, name];
        const isEmpty = inner === null || (format === 'xml' && isObject(inner) && hasAttributesOnly(inner));
        if (isEmpty && isListLike(name)) paths.push(here);
        if (isEmpty) return inner === null || isListLike(name);
        return isObject(inner) && here.length < depthMax && walk(inner, here);
      })
      .every(Boolean);
  return { alone: walk(page, []), paths };
}

/** Whether a name can hardly be a field of a record: null under it leaves open what the page is. */
export function isOnlyListName(name: string): boolean {
  return isListName(name) && !fieldNames.has(name.toLowerCase());
}

function isListLike(name: string): boolean {
  return isListName(name) || /[a-z](?<![su])s$/i.test(name);
}

function hasAttributesOnly(value: Fields): boolean {
  return Object.keys(value).every((key) => key.startsWith('@'));
}

/** An element's name without its namespace. */
function local(name: string): string {
  return name.slice(name.indexOf(':') + 1).toLowerCase();
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
