import { MillraceError } from '../core/errors.ts';
import type { RevealedValue } from '../core/redact.ts';
import { readSecretFile } from './file-secret.ts';
import { SECRET_NAME, userOwner } from './user-secrets.ts';
import type { Vault } from './vault.ts';

/**
 * A reference in a config. `${env:NAME}`, `${file:/path}`, `${secret:NAME}` are written by people;
 * `${secret:<connector>.<path>}` stands where a literal was sealed and opens for that connector alone.
 */
export type Reference =
  | { readonly kind: 'env'; readonly name: string }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'secret'; readonly name: string }
  | { readonly kind: 'own'; readonly connector: string; readonly path: string };

/** Which variables and files a reference may name (`millrace.secrets`). */
export interface ReferenceRules {
  /** Names with `*` for any characters. */
  readonly env: readonly string[];
  /** Absolute paths: a file, or a folder and all in it. */
  readonly files: readonly string[];
  /** References by which the config file names the server's own credentials: no connector may send those anywhere. */
  readonly closed?: readonly string[];
}

/** Who asks when the server reads its own credentials. No connector can have that name. */
export const SERVER = '#server';

/** What looks like a reference, anywhere in a text. */
export const REFERENCE = /\$\{([^{}]*)\}/g;

/** The reference that the whole text is; null when it is none. Throws `invalid_config` when it is one of no known kind. */
export function wholeReference(text: string, field: string): Reference | null {
  const inside = /^\$\{([^{}]*)\}$/.exec(text)?.[1];
  return inside === undefined ? null : parseReference(inside, field);
}

/** What stands between `${` and `}`. Throws `invalid_config`; the text is not repeated, for it may be a mistyped password. */
export function parseReference(inside: string, field: string): Reference {
  const colon = inside.indexOf(':');
  const [kind, rest] = colon < 0 ? [inside, ''] : [inside.slice(0, colon), inside.slice(colon + 1)];
  if (kind === 'env' && /^[A-Za-z_][A-Za-z0-9_]*$/.test(rest)) return { kind, name: rest };
  if (kind === 'file' && rest !== '') return { kind, path: rest };
  if (kind === 'secret' && SECRET_NAME.test(rest)) return { kind, name: rest };
  const own = kind === 'secret' ? /^([a-z][a-z0-9_]{0,47})\.(.+)$/.exec(rest) : null;
  if (own?.[1] !== undefined && own[2] !== undefined) return { kind: 'own', connector: own[1], path: own[2] };
  if (kind === 'ask') {
    throw new MillraceError('invalid_config', `"${field}": \${ask} works in a conversation only.`, {
      hint: 'It stands in the config that register_connector and update_connector take, and in the value of rotate_secret. Here, run `millrace secret set NAME` in a terminal and write "${secret:NAME}".',
    });
  }
  throw new MillraceError('invalid_config', `"${field}" holds a reference that cannot be read.`, {
    hint: 'A reference is "${env:NAME}", "${file:/path}", "${secret:NAME}" or "${ask}". A value that holds "${" itself is stored with `millrace secret set NAME` and named by "${secret:NAME}".',
  });
}

/** The text of a reference to a connector's own sealed value. */
export function ownReference(connector: string, path: string): string {
  return `\${secret:${connector}.${path}}`;
}

/** The owner under which it is sealed. */
export function ownOwner(connector: string, path: string): string {
  return `connector/${connector}/${path}`;
}

/** Every reference that stands anywhere in these values, as text. */
export function referencesIn(values: unknown): readonly string[] {
  return JSON.stringify(values).match(REFERENCE) ?? [];
}

export interface ReferenceContext {
  readonly vault: Pick<Vault, 'open' | 'dataDir'>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly rules: ReferenceRules;
  /** Who asks: another connector's own values do not open for it. */
  readonly connector: string;
  /** Hears what each reference stands for. */
  readonly onValue?: ((value: RevealedValue) => void) | undefined;
}

/** What a reference names, in clear. Throws `secret_missing`, `secret_refused`. */
export async function resolveReference(reference: Reference, context: ReferenceContext): Promise<string> {
  const value = await opened(reference, context);
  context.onValue?.({ value, reference: textOf(reference) });
  return value;
}

async function opened(reference: Reference, context: ReferenceContext): Promise<string> {
  assertOpen(reference, context);
  switch (reference.kind) {
    case 'env':
      return fromEnvironment(reference.name, context);
    case 'file':
      return readSecretFile(reference.path, context.rules.files, context.vault.dataDir);
    case 'secret':
      return (await context.vault.open(userOwner(reference.name))).expose();
    case 'own':
      if (reference.connector !== context.connector) throw foreign(reference.connector);
      return (await context.vault.open(ownOwner(reference.connector, reference.path))).expose();
    default:
      return reference satisfies never;
  }
}

/** As it is written. */
function textOf(reference: Reference): string {
  if (reference.kind === 'own') return ownReference(reference.connector, reference.path);
  return `\${${reference.kind}:${reference.kind === 'file' ? reference.path : reference.name}}`;
}

/** The token that lets somebody in here would match `MILLRACE_*` too. */
function assertOpen(reference: Reference, { rules, connector }: ReferenceContext): void {
  if (connector === SERVER || reference.kind === 'own') return;
  const text = textOf(reference);
  if (!(rules.closed ?? []).includes(text)) return;
  throw new MillraceError(
    'secret_refused',
    `${text} is a credential of this server, and no connector may use it.`,
    {
      hint: 'Store the credential of the source under another name, for example with `millrace secret set NAME`.',
      who: 'assistant',
    },
  );
}

/** The master key would match the default `MILLRACE_*`, and sent as a password it would leave the house. */
const NEVER = new Set(['MILLRACE_MASTER_KEY', 'MILLRACE_MASTER_KEY_PREVIOUS']);

function fromEnvironment(name: string, { env, rules }: ReferenceContext): string {
  if (NEVER.has(name)) {
    throw new MillraceError('secret_refused', `No reference may name ${name}.`, {
      hint: 'Store the credential under another name, for example with `millrace secret set NAME`.',
    });
  }
  if (!rules.env.some((pattern) => matches(pattern, name))) {
    const allowed = rules.env.length === 0 ? 'none' : rules.env.join(', ');
    throw new MillraceError(
      'secret_refused',
      `The environment variable ${name} may not be read (allowed: ${allowed}).`,
      {
        hint: `Add ${JSON.stringify(name)} to millrace.secrets.env in the config file and restart: "env": ${JSON.stringify([...rules.env, name])}. Or rename the variable to match what is allowed.`,
      },
    );
  }
  const value = env[name];
  if (value !== undefined && value !== '') return value;
  throw new MillraceError(
    'secret_missing',
    `The environment variable ${name} is not set where Millrace runs.`,
    {
      hint: `Set it and restart: in an MCP client's configuration "env": {"${name}": "…"} beside "command", in a shell \`export ${name}=…\`.`,
    },
  );
}

/** Patterns are names with `*`; everything else in them is meant literally. */
function matches(pattern: string, name: string): boolean {
  const literal = pattern.split('*').map((part) => part.replaceAll(/[^A-Za-z0-9_]/g, '\\$&'));
  return new RegExp(`^${literal.join('.*')}$`).test(name);
}

function foreign(connector: string): MillraceError {
  return new MillraceError(
    'secret_refused',
    `That value was sealed for the connector "${connector}" and opens for it alone.`,
    {
      hint: 'Store a credential that several connectors share with `millrace secret set NAME` and write "${secret:NAME}".',
      who: 'assistant',
    },
  );
}
