/** Deciding from the text alone whether a statement may be tried; SQLite decides again from what it prepared. Pure. */

const refusals: readonly { readonly word: RegExp; readonly why: string }[] = [
  {
    word: /^(attach|detach)\b/i,
    why: 'ATTACH and DETACH are not allowed: queries see the landed data only.',
  },
  { word: /^pragma\b/i, why: 'PRAGMA is not allowed: `describe_data` shows tables and columns.' },
  {
    word: /^(insert|update|delete|replace|drop|create|alter|truncate|merge|grant|vacuum|reindex|analyze|begin|commit|rollback|savepoint|release|end)\b/i,
    why: 'Landed data cannot be changed here; it follows its source.',
  },
];

/** Null when it looks like one query; else why not, with what to do instead. */
export function isReadQuery(sql: string): string | null {
  // The library hands SQLite a C string: what stands behind a NUL would be checked and not run, or run and not checked.
  if (sql.includes('\0')) return 'There is a NUL character in the SQL.';
  const all = withoutComments(sql).trim();
  // EXPLAIN compiles what it explains, and some PRAGMAs take effect while they are compiled.
  const text = all.replace(/^explain(\s+query\s+plan)?\b/i, '').trim();
  if (text === '') return 'There is no SQL in this call: give one SELECT.';
  const refusal = refusals.find(({ word }) => word.test(text));
  if (refusal !== undefined) return refusal.why;
  if (!/^(select|with|values)\b/i.test(text))
    return "Only one SELECT (or WITH … SELECT) may run here, in SQLite's dialect.";
  if (/\b(load_extension|readfile|writefile|edit|fts3_tokenizer)["`\]]?\s*\(/i.test(withoutStrings(text)))
    return 'That function is not allowed here.';
  if (/\bpragma_\w+/i.test(withoutStrings(text)))
    return 'PRAGMA functions are not allowed: `describe_data` shows tables and columns.';
  return null;
}

/** True for EXPLAIN and EXPLAIN QUERY PLAN, which run nothing of what they explain. */
export function explains(sql: string): boolean {
  return /^explain\b/i.test(withoutComments(sql).trim());
}

/** True when there is more than space, comments and semicolons. */
export function hasStatement(sql: string): boolean {
  return withoutComments(sql).replaceAll(';', ' ').trim() !== '';
}

/** Comments as spaces; what looks like a comment inside a string or a quoted name stays. */
function withoutComments(sql: string): string {
  return sql.replaceAll(
    /'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)/g,
    (part) => (part.startsWith('--') || part.startsWith('/*') ? ' ' : part),
  );
}

/** SQLite takes a name in single quotes as well: `FROM 'pragma_database_list'`. */
function withoutStrings(sql: string): string {
  return sql.replaceAll(/'(?:[^']|'')*'/g, (text) => (/^'pragma_\w+'$/i.test(text) ? text : "''"));
}
