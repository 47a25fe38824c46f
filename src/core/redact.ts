import { inspect } from 'node:util';
import { MillraceError } from './errors.ts';

/** What stands where a secret is. */
export const MASK = '••••';

/**
 * A credential in clear, on its way from the vault to a driver. However it is printed, logged, put into JSON or
 * inspected, it shows the mask; only `expose()` gives it out, so that `grep expose` finds every such place.
 */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  expose(): string {
    return this.#value;
  }

  toString(): string {
    return MASK;
  }

  toJSON(): string {
    return MASK;
  }

  [inspect.custom](): string {
    return MASK;
  }
}

/** What a reference in a config stands for, in clear. */
export interface RevealedValue {
  readonly value: string;
  /** As it is written: `${env:NAME}`. */
  readonly reference: string;
}

/** Shorter ones stand in every text, and protect little. */
const REVEALED_CHARACTERS_MIN = 4;

/**
 * The text with references in the place of what they stand for: a driver names the host, the login and the database that
 * it was given, and a reference may put a secret into any of these.
 */
export function withReferences(text: string, values: readonly RevealedValue[]): string {
  let clean = text;
  // The longest first: one may hold another.
  for (const { value, reference } of values.toSorted((one, other) => other.value.length - one.value.length))
    if (value.length >= REVEALED_CHARACTERS_MIN) clean = clean.replaceAll(value, () => reference);
  return clean;
}

/** Limits of what one log line or audit entry can hold. */
const DEPTH_MAX = 8;
const ITEMS_MAX = 100;
const CHARACTERS_MAX = 8_000;

/**
 * The same data, fit for a log or the audit: values under names that credentials go by are masked at any depth
 * (references such as `${env:NAME}` stay: they say where, not what), errors become `{ name, code, message }` because
 * drivers hang queries, parameters and configurations on theirs, texts are scrubbed and cut. Never throws.
 */
export function redact(value: unknown): unknown {
  return walk(value, { depth: 0, seen: new Set() });
}

/** Whether a field of this name holds a credential: `password`, `clientSecret`, `X-Api-Key`, `SHOP_DB_PASSWORD`. */
export function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name.replaceAll(/[^A-Za-z0-9]/g, ''));
}

/**
 * The text without passwords of URLs, `password=…` of connection strings and query strings, JSON fields of such names,
 * bearer and basic tokens, and private keys; cut at 8,000 characters. For texts whose making is not ours: drivers' and
 * servers' messages.
 */
export function scrub(text: string): string {
  let clean = text.length > CHARACTERS_MAX ? `${text.slice(0, CHARACTERS_MAX)}…` : text;
  for (const { pattern, replacement } of SCRUBS) clean = clean.replaceAll(pattern, replacement);
  return clean;
}

const NAMES =
  'pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|(?:access|private|master|secret)[_-]?key|authorization|cookie|credentials?';
const SECRET_NAME = new RegExp(`(?:${NAMES})s?$`, 'i');
const REFERENCE = '\\$\\{(?:env|file|secret|ask)(?::[^}]*)?\\}';
const IS_REFERENCE = new RegExp(`^${REFERENCE}$`);

/** Repetitions are bounded, so that a hostile text costs milliseconds and not minutes. */
const SCRUBS: readonly { readonly pattern: RegExp; readonly replacement: string }[] = [
  {
    pattern: /-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]{0,8000}(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?/g,
    replacement: MASK,
  },
  // Greedy to the last @: a password written without percent-encoding may hold an @ or a slash itself.
  {
    pattern: new RegExp(
      `(\\b[a-z][a-z0-9+.-]{0,30}://[^\\s:/@"'<>]{0,128}):(?!${REFERENCE}@)[^\\s"'<>]{0,512}@`,
      'gi',
    ),
    replacement: `$1:${MASK}@`,
  },
  {
    pattern: new RegExp(
      `("[\\w.-]{0,40}(?:${NAMES})s?"\\s{0,8}:\\s{0,8})"(?!${REFERENCE}")(?:[^"\\\\]|\\\\.){0,4000}"?`,
      'gi',
    ),
    replacement: `$1"${MASK}"`,
  },
  {
    pattern: new RegExp(
      `(\\b[\\w.-]{0,40}(?:${NAMES})s?\\s{0,8}=\\s{0,8})(?!${REFERENCE})(?:'(?:[^'\\\\]|\\\\.|''){0,4000}'?|"(?:[^"\\\\]|\\\\.|""){0,4000}"?|[^\\s,;&"']{1,4000})`,
      'gi',
    ),
    replacement: `$1${MASK}`,
  },
  { pattern: /\b(Bearer|Basic)\s{1,4}[A-Za-z0-9._~+/=-]{8,4000}/gi, replacement: `$1 ${MASK}` },
];

interface Walk {
  readonly depth: number;
  readonly seen: ReadonlySet<object>;
}

function walk(value: unknown, { depth, seen }: Walk): unknown {
  if (typeof value === 'string') return scrub(value);
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'function' || typeof value === 'symbol') return undefined;
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Secret) return MASK;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `<${value.byteLength} bytes>`;
  if (depth >= DEPTH_MAX || seen.has(value)) return '…';
  const inner = { depth: depth + 1, seen: new Set([...seen, value]) };
  if (value instanceof Error) return reduceError(value, inner);
  if (Array.isArray(value)) {
    const items = value.slice(0, ITEMS_MAX).map((item) => walk(item, inner));
    return value.length > ITEMS_MAX ? [...items, `… ${value.length - ITEMS_MAX} more`] : items;
  }
  if (value instanceof Map || value instanceof Set) return walk([...value], inner);
  return Object.fromEntries(
    Object.entries(value)
      .slice(0, ITEMS_MAX)
      .map(([name, field]) => [name, isSecretName(name) ? maskField(field) : walk(field, inner)]),
  );
}

/** A switch named `password` is not a password; a reference says where one is. */
function maskField(field: unknown): unknown {
  if (field === null || field === undefined || typeof field === 'boolean') return field;
  return typeof field === 'string' && IS_REFERENCE.test(field) ? field : MASK;
}

function reduceError(error: Error, inner: Walk): unknown {
  const code = (error as { code?: unknown }).code;
  const errors = error instanceof AggregateError ? error.errors : undefined;
  return {
    name: error.name,
    ...(typeof code === 'string' || typeof code === 'number' ? { code } : {}),
    message: scrub(error.message),
    ...(error instanceof MillraceError ? { hint: scrub(error.hint) } : { at: frames(error) }),
    ...(errors ? { errors: walk(errors, inner) } : {}),
    ...(error.cause === undefined ? {} : { cause: walk(error.cause, inner) }),
  };
}

/** Where it was thrown: the stack without its first lines, which repeat the message. */
function frames(error: Error): readonly string[] {
  return (error.stack ?? '')
    .split('\n')
    .filter((line) => /^\s+at /.test(line))
    .slice(0, 12)
    .map((line) => line.trim());
}
