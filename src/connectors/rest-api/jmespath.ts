/** JMESPath (the library `jmespath`): compiled once, and asked whether an expression is no more than a path of names. */

import jmespath from 'jmespath';
import { MillraceError } from '../../core/errors.ts';

/** What an expression finds; null where there is nothing. */
export type Expression = (data: unknown) => unknown;

interface Node {
  readonly type: string;
  readonly name?: string;
  readonly value?: unknown;
  readonly children?: readonly Node[];
}

/** The part of the library that its types leave out. */
interface Library {
  search(data: unknown, expression: string): unknown;
  compile(expression: string): Node;
}

const library = jmespath as unknown as Library;

/** Checks an expression and makes it ready. Throws `invalid_config` where it is none. */
export function expression(text: string): Expression {
  parse(text);
  return (data) => {
    try {
      return library.search(data, text) ?? null;
    } catch (error) {
      throw new MillraceError(
        'response_invalid',
        `The JMESPath "${text.slice(0, 100)}" does not fit the answer: ${reason(error)}.`,
        {
          hint: 'preview_stream shows what the API answers. Correct the expression with update_connector.',
          cause: error,
        },
      );
    }
  };
}

/** `data.items` as its names; null for everything that is more than a path of names. `@` is the empty path. */
export function plainPath(text: string): readonly string[] | null {
  return namesOf(parse(text));
}

/** The names that an expression begins with: `result.items` of `result.items[].id`. Empty where it begins otherwise. */
export function leadingPath(text: string): readonly string[] {
  let node: Node | undefined = parse(text);
  while (node !== undefined && namesOf(node) === null)
    node = beginsInside.has(node.type) ? node.children?.[0] : undefined;
  return node === undefined ? [] : (namesOf(node) ?? []);
}

/** The list that an expression goes through first, as it stands in the page; null where there is none, or it is made up. */
export function listIn(text: string): (page: unknown) => readonly unknown[] | null {
  const base = innermost(parse(text))?.children?.[0];
  return (page) => {
    const list = base === undefined ? undefined : atNode(page, base);
    return Array.isArray(list) ? list : null;
  };
}

/** Whether an expression only leaves records out: `items[?ok]`. What it finds are the records themselves. */
export function onlyFilters(text: string): boolean {
  const node = parse(text);
  return (
    node.type === 'FilterProjection' && node === innermost(node) && node.children?.[1]?.type === 'Identity'
  );
}

const projections: ReadonlySet<string> = new Set(['Projection', 'FilterProjection', 'Flatten']);

/** Of the parts that go through a list, the one that comes first. */
function innermost(node: Node): Node | null {
  const before = beginsInside.has(node.type) ? node.children?.[0] : undefined;
  const inner = before === undefined ? null : innermost(before);
  return inner ?? (projections.has(node.type) ? node : null);
}

/** Functions that give a list as long as their argument. */
const sameLength: ReadonlySet<string> = new Set(['sort', 'sort_by', 'reverse', 'to_array']);

/** What names, indexes and slices lead to; of a slice the list that it is cut out of, of a sorted list the list. */
function atNode(data: unknown, node: Node): unknown {
  const [first, second] = node.children ?? [];
  switch (node.type) {
    case 'Identity':
    case 'Current':
      return data;
    case 'Field':
      return atPath(data, [node.name ?? '']);
    case 'Index':
      return Array.isArray(data) ? data.at(Number(node.value)) : undefined;
    case 'Slice':
      return data;
    case 'Function':
      return first !== undefined && sameLength.has(node.name ?? '') ? atNode(data, first) : undefined;
    case 'Subexpression':
    case 'IndexExpression':
    case 'Pipe':
      return first === undefined || second === undefined ? undefined : atNode(atNode(data, first), second);
    default:
      return undefined;
  }
}

/** What is made of that which its first part finds. */
const beginsInside: ReadonlySet<string> = new Set([
  ...['Projection', 'FilterProjection', 'ValueProjection', 'Flatten'],
  ...['IndexExpression', 'Subexpression', 'Pipe'],
]);

/** What stands at a path of names; undefined where it does not lead anywhere. */
export function atPath(data: unknown, names: readonly string[]): unknown {
  let value = data;
  for (const name of names) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Readonly<Record<string, unknown>>)[name];
  }
  return value;
}

/** What JMESPath takes for true: everything but false, null, and what is empty. */
export function truthy(value: unknown): boolean {
  if (value === null || value === undefined || value === false || value === '') return false;
  if (Array.isArray(value)) return value.length > 0;
  return typeof value !== 'object' || Object.keys(value).length > 0;
}

function namesOf(node: Node): readonly string[] | null {
  if (node.type === 'Current') return [];
  if (node.type === 'Field' && node.name !== undefined) return [node.name];
  if (node.type !== 'Subexpression') return null;
  const parts = (node.children ?? []).map(namesOf);
  return parts.some((part) => part === null) ? null : parts.flatMap((part) => part ?? []);
}

function parse(text: string): Node {
  try {
    return library.compile(text);
  } catch (error) {
    throw new MillraceError(
      'invalid_config',
      `"${text.slice(0, 100)}" is no JMESPath expression: ${reason(error)}.`,
      {
        hint: 'Write a path such as "data.items"; names with other characters than letters, digits and "_" in double quotes. https://jmespath.org',
        cause: error,
      },
    );
  }
}

function reason(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ').slice(0, 120);
}
