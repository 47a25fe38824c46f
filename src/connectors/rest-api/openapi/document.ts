/** An OpenAPI 3 document as plain data: read leniently, because most of them are not quite valid. */

import { parseDocument, unusable } from './text.ts';

type Node = Readonly<Record<string, unknown>>;

/** A schema with its references followed and its parts (`allOf`) laid together. */
export interface Schema {
  /** `string`, `integer`, `number`, `boolean`, `array`, `object`; null where nothing is said. */
  readonly type: string | null;
  readonly format: string | null;
  readonly nullable: boolean;
  readonly properties: ReadonlyMap<string, () => Schema>;
  readonly required: ReadonlySet<string>;
  readonly items: (() => Schema) | null;
  readonly maximum: number | null;
  /** What to send when nothing else is known: default, example, the first of an enumeration. */
  readonly sample: string | number | boolean | null;
}

export interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly required: boolean;
  readonly schema: Schema;
}

/** A GET that answers with JSON. */
export interface Operation {
  readonly path: string;
  readonly parameters: readonly Parameter[];
  readonly answer: Schema;
  /** Whether a `Link` header is among those of its answer. */
  readonly hasLinkHeader: boolean;
}

export interface ApiDocument {
  /** The path of the first server, without a slash at its end: paths stand below it. */
  readonly serverPath: string;
  readonly operations: readonly Operation[];
}

const operationsMax = 5_000;
const referencesMax = 20;
/** A schema is composed of so many at most. */
const partsMax = 1_000;

/** Takes a document's text apart. Throws `response_invalid` for what is not OpenAPI 3, and says what it is. */
export function readDocument(text: string): ApiDocument {
  const root = objectOf(parseDocument(text));
  const version = textOf(root['openapi']);
  if (version === null || !version.startsWith('3.'))
    throw unusable(
      root['swagger'] === undefined
        ? 'it has no "openapi": "3.…" at its top'
        : `it is Swagger ${swaggerVersion(root['swagger'])}, which came before OpenAPI 3; converters such as swagger2openapi make one of the other`,
    );
  const operations: Operation[] = [];
  for (const [path, item] of Object.entries(objectOf(root['paths']))) {
    const operation = operationOf(root, path, followed(root, item));
    if (operation !== null) operations.push(operation);
    if (operations.length === operationsMax) break;
  }
  return { serverPath: serverPathOf(root), operations };
}

/** Without quotes, `2.0` is a number in YAML. */
function swaggerVersion(said: unknown): string {
  return said === 2 ? '2.0' : String(said).slice(0, 10);
}

function operationOf(root: Node, path: string, item: Node): Operation | null {
  const get = objectOf(item['get']);
  if (item['get'] === undefined || !path.startsWith('/')) return null;
  const responses = objectOf(get['responses']);
  const success = ['200', '2XX', '2xx', '206', 'default'].find((status) => responses[status] !== undefined);
  if (success === undefined) return null;
  const response = followed(root, responses[success]);
  const content = Object.entries(objectOf(response['content'])).find(([type]) => /\bjson\b/i.test(type))?.[1];
  if (content === undefined) return null;
  const headers = Object.keys(objectOf(response['headers'])).map((name) => name.toLowerCase());
  return {
    path,
    parameters: [...listOf(item['parameters']), ...listOf(get['parameters'])].flatMap((one) =>
      parameterOf(root, one),
    ),
    answer: schemaOf(root, objectOf(content)['schema']),
    hasLinkHeader: headers.includes('link'),
  };
}

function parameterOf(root: Node, given: unknown): Parameter[] {
  const parameter = followed(root, given);
  const [name, place] = [textOf(parameter['name']), textOf(parameter['in'])];
  if (name === null || place === null) return [];
  const schema = schemaOf(root, parameter['schema']);
  const sample = schema.sample ?? plainOf(parameter['example']);
  return [{ name, in: place, required: parameter['required'] === true, schema: { ...schema, sample } }];
}

function schemaOf(root: Node, given: unknown): Schema {
  const parts = partsOf(root, given);
  const first = <T>(read: (part: Node) => T | null): T | null =>
    parts.map(read).find((value) => value !== null) ?? null;
  const types = parts.flatMap((part) => [part['type']].flat()).filter((type) => typeof type === 'string');
  const properties = new Map<string, () => Schema>();
  for (const part of parts)
    for (const [name, inner] of Object.entries(objectOf(part['properties'])))
      properties.set(name, () => schemaOf(root, inner));
  const items = first((part) => (part['items'] === undefined ? null : part['items']));
  return {
    type: types.find((type) => type !== 'null') ?? (properties.size > 0 ? 'object' : items ? 'array' : null),
    format: first((part) => textOf(part['format'])),
    nullable: types.includes('null') || parts.some((part) => part['nullable'] === true),
    properties,
    required: new Set(parts.flatMap((part) => listOf(part['required']).map(String))),
    items: items === null ? null : () => schemaOf(root, items),
    maximum: first((part) => (typeof part['maximum'] === 'number' ? part['maximum'] : null)),
    sample: first(
      (part) => plainOf(part['default']) ?? plainOf(part['example']) ?? plainOf(listOf(part['enum'])[0]),
    ),
  };
}

/**
 * The schema and what it is composed of: everything of `allOf`, the first that is not null of `oneOf` and `anyOf`. Each
 * once: what is composed of itself, or of ten times the same and that of ten times another, would never end.
 */
function partsOf(root: Node, given: unknown, seen = new Set<Node>()): readonly Node[] {
  const node = followed(root, given);
  if (seen.has(node)) return [];
  seen.add(node);
  if (seen.size > partsMax) return [node];
  const choice = [...listOf(node['oneOf']), ...listOf(node['anyOf'])]
    .map((one) => followed(root, one))
    .find((one) => one['type'] !== 'null');
  const composed = [...listOf(node['allOf']), ...(choice === undefined ? [] : [choice])];
  return [node, ...composed.flatMap((part) => partsOf(root, part, seen))];
}

/** The node, or what its `$ref` names in the same document. Other documents are not fetched. */
function followed(root: Node, given: unknown): Node {
  let node = objectOf(given);
  for (let turn = 0; turn < referencesMax; turn += 1) {
    const reference = textOf(node['$ref']);
    if (reference === null || !reference.startsWith('#/')) return node;
    let at: unknown = root;
    for (const part of reference.slice(2).split('/'))
      at = objectOf(at)[decoded(part).replaceAll('~1', '/').replaceAll('~0', '~')];
    node = objectOf(at);
  }
  return node;
}

function serverPathOf(root: Node): string {
  const url = textOf(objectOf(listOf(root['servers'])[0])['url']) ?? '/';
  const path = URL.parse(url, 'https://relative.invalid')?.pathname ?? '/';
  return path.includes('%7B') ? '' : path.replace(/\/+$/, '');
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function objectOf(value: unknown): Node {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Node) : {};
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

function plainOf(value: unknown): string | number | boolean | null {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? value : null;
}
