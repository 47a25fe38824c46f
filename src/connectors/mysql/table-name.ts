/** Names of tables as people write them. Pure. */

import { identifier } from './sql-text.ts';

/**
 * `name` or `database.name` taken apart: a part may stand in backticks or double quotes, doubled inside, and has to
 * where it holds a dot. What is not quoted is taken as it is, since the parts never get into SQL unquoted. Null for
 * what is no such name. No name holds a character beyond U+FFFF: MySQL takes it for a `?` and would find that table.
 */
export function tableNames(written: string): readonly [string] | readonly [string, string] | null {
  const part = /\s*(?:`((?:[^`]|``)+)`|"((?:[^"]|"")+)"|([^.`"]+))\s*(\.|$)/y;
  const parts: string[] = [];
  for (let end = ''; end !== '$'; ) {
    const match = part.exec(written);
    if (!match) return null;
    const [, backticked, quoted, bare] = match;
    parts.push(backticked?.replaceAll('``', '`') ?? quoted?.replaceAll('""', '"') ?? (bare ?? '').trim());
    end = match[4] === '.' ? '.' : '$';
    if (end === '.' && part.lastIndex >= written.length) return null;
  }
  const [first, second, ...more] = parts;
  if (!first || more.length > 0 || second === '' || /[\u{10000}-\u{10ffff}]/u.test(written)) return null;
  return second === undefined ? [first] : [first, second];
}

/** Parts of a name as they are best written: plain where nothing speaks against it, else in backticks. */
export function writtenName(...parts: readonly string[]): string {
  return parts.map((part) => (/^[A-Za-z_][\w$]*$/.test(part) ? part : identifier(part))).join('.');
}
