/** Names and values as they may stand in SQL, whatever the server's `sql_mode` is. */

/** A name in backticks: those are a name under ANSI_QUOTES and without. */
export function identifier(name: string): string {
  return `\`${name.replaceAll('`', '``')}\``;
}

/**
 * A text as a literal. Quotes around letters, digits and a few harmless signs; hexadecimal for everything else, since
 * under NO_BACKSLASH_ESCAPES a backslash means itself, and without it not.
 */
export function literal(text: string): string {
  return /^[\w .:+@/,;()#-]+$/.test(text) ? `'${text}'` : `_utf8mb4 X'${Buffer.from(text).toString('hex')}'`;
}

/** Puts literals where `?` stands. For our own SQL only: it does not know a `?` in quotes from one outside. */
export function withValues(sql: string, values: readonly (string | number | null)[]): string {
  if (values.length === 0) return sql;
  let next = 0;
  return sql.replaceAll('?', () => {
    const value = values[next++];
    if (value === null || value === undefined) return 'NULL';
    return typeof value === 'number' ? String(value) : literal(value);
  });
}
