import { MillraceError } from '../core/errors.ts';
import { MASK, type RevealedValue, Secret } from '../core/redact.ts';
import { type AskedSecret, withAsked } from './asked.ts';
import { type ConfigValues, isSecretField, isUrlField, mapStrings, stringsOf } from './config-strings.ts';
import {
  ownOwner,
  ownReference,
  parseReference,
  REFERENCE,
  type ReferenceContext,
  type ReferenceRules,
  resolveReference,
  wholeReference,
} from './references.ts';
import type { SealedValue } from './seal.ts';
import { showConfig, unmaskConfig } from './shown.ts';
import { isUrl, urlPieces } from './url-secrets.ts';
import type { Vault } from './vault.ts';

export interface SecretToolsOptions {
  readonly vault: Vault;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** `millrace.secrets` of the config file. */
  readonly rules: ReferenceRules & { readonly literals: 'accept' | 'reject' };
  /** What a person typed where a config says `${ask}`, by field. */
  readonly typed?: Typed;
}

/** By field: `password`, `auth.token`. */
export type Typed = ReadonlyMap<string, string>;

/** A config fit to be kept, and what has to be stored together with it. */
export interface SealedConfig {
  readonly config: Record<string, unknown>;
  /** Not stored yet: a connector and its secrets are stored together or not at all. */
  readonly sealed: readonly SealedValue[];
  /** Paths of the fields that `sealed` is for. */
  readonly fields: readonly string[];
  /** Credentials that a person has yet to type. */
  readonly asked: readonly AskedSecret[];
  readonly warnings: readonly string[];
}

/** Secrets of connectors' configs. `secretPaths` are the fields that the connector type declares as credentials. */
export interface SecretTools {
  /**
   * References replaced by what they name, for a driver and nowhere else; `onValue` hears each. Throws `secret_missing`,
   * `secret_refused`.
   */
  reveal(
    connector: string,
    config: ConfigValues,
    secretPaths: readonly string[],
    onValue?: (value: RevealedValue) => void,
  ): Promise<Record<string, unknown>>;
  /**
   * Literals replaced by references to sealed values, `${ask}` by one to what will be typed, references checked. Throws `secret_refused` (a literal where they
   * are rejected, a reference that the rules forbid), `invalid_config`; a secret that is only missing is a warning.
   */
  seal(connector: string, config: ConfigValues, secretPaths: readonly string[]): Promise<SealedConfig>;
  /** Stores what was typed for those fields that the config still names; which ones. */
  keep(
    connector: string,
    config: ConfigValues,
    entered: { readonly asked: readonly AskedSecret[]; readonly typed: Typed },
  ): Promise<readonly string[]>;
  /** The same tools where a person has typed what `${ask}` stands for: never a reference, and no literal of the conversation. */
  knowing(typed: Typed): SecretTools;
  /** For people and results: credentials masked, with where they come from. */
  show(config: ConfigValues, secretPaths: readonly string[]): Record<string, unknown>;
  /** What `show` masked, put back from the config it showed: an assistant may send back what it was shown. */
  unmask(config: ConfigValues, before: ConfigValues, secretPaths: readonly string[]): Record<string, unknown>;
}

/** The secret tools of this vault, environment and rules. */
export function createSecretTools(options: SecretToolsOptions): SecretTools {
  const { vault, env, rules, typed } = options;
  return {
    reveal: async (connector, given, secretPaths, onValue) => {
      const { config, asked } =
        typed === undefined ? { config: given, asked: [] } : withAsked(connector, given, secretPaths);
      const context = { vault: entered(options, connector, asked), env, rules, connector, onValue };
      const clear = new Map<string, string>();
      for (const { path, text } of stringsOf(config)) {
        clear.set(
          path,
          await revealText(text, { path, isSecret: isSecretField(path, secretPaths) }, context),
        );
      }
      return mapStrings(config, (text, path) => clear.get(path) ?? text);
    },

    seal: async (connector, given, secretPaths) => {
      const { config, asked } = withAsked(connector, given, secretPaths);
      const context = { vault, env, rules, connector };
      const sealing: Sealing = {
        connector,
        vault,
        literals: rules.literals,
        sealed: [],
        fields: [],
        warnings: [],
      };
      for (const { field, path } of asked) {
        const value = typed?.get(field);
        if (value !== undefined) sealing.sealed.push(vault.seal(ownOwner(connector, path), value));
      }
      const awaited = asked.map(({ path }) => ownReference(connector, path));
      const kept = new Map<string, string>();
      for (const { path, text } of stringsOf(config)) {
        const field = { path, isSecret: isSecretField(path, secretPaths) };
        assertOwnInPlace(connector, text, field);
        const reference = await sealText(text, field, sealing);
        kept.set(path, reference);
        if (awaited.some((one) => text.includes(one))) continue;
        if (reference === text) await assertResolves(text, field, { context, warnings: sealing.warnings });
      }
      const { sealed, fields, warnings } = sealing;
      return {
        config: mapStrings(config, (text, path) => kept.get(path) ?? text),
        sealed,
        fields,
        asked: asked.filter(({ field }) => typed?.has(field) !== true),
        warnings,
      };
    },

    keep: async (connector, config, { asked, typed: values }) => {
      const texts = stringsOf(config).map(({ text }) => text);
      const kept: string[] = [];
      for (const { field, path } of asked) {
        const value = values.get(field);
        if (value === undefined || !texts.some((text) => text.includes(ownReference(connector, path))))
          continue;
        await vault.put(ownOwner(connector, path), value);
        kept.push(field);
      }
      return kept;
    },

    knowing: (values) => createSecretTools({ ...options, typed: values }),

    show: showConfig,
    unmask: unmaskConfig,
  };
}

/** The vault, as if what was typed were stored in it already. */
function entered(
  { vault, typed }: SecretToolsOptions,
  connector: string,
  asked: readonly AskedSecret[],
): Pick<Vault, 'open' | 'dataDir'> {
  const values = new Map(asked.map(({ field, path }) => [ownOwner(connector, path), typed?.get(field)]));
  return {
    dataDir: vault.dataDir,
    open: async (owner) => {
      const value = values.get(owner);
      return value === undefined ? await vault.open(owner) : new Secret(value);
    },
  };
}

interface Field {
  readonly path: string;
  readonly isSecret: boolean;
}

async function revealText(
  text: string,
  { path, isSecret }: Field,
  context: ReferenceContext,
): Promise<string> {
  const whole = wholeReference(text, path);
  if (whole) return await resolveReference(whole, context);
  if (isSecret && !isUrlField(path))
    return isSchemeAndReference(text) ? await embed(text, path, context) : text;
  if (!isUrl(text)) return await embed(text, path, context);
  let url = '';
  for (const piece of urlPieces(text, path)) {
    url += await embed(piece.text, path, context, piece.encoded ? encodeURIComponent : undefined);
  }
  return url;
}

/** The text with each reference in it replaced. */
async function embed(
  text: string,
  path: string,
  context: ReferenceContext,
  encode: (value: string) => string = (value) => value,
): Promise<string> {
  let result = '';
  let from = 0;
  for (const match of text.matchAll(REFERENCE)) {
    const value = await resolveReference(parseReference(match[1] ?? '', path), context);
    result += text.slice(from, match.index) + encode(value);
    from = match.index + match[0].length;
  }
  return result + text.slice(from);
}

/**
 * What was sealed here as a credential stands where credentials do. In any other place it would be taken for something
 * harmless: shown, sent as a name, or asked for at whatever host the text names. Throws `secret_refused`.
 */
function assertOwnInPlace(connector: string, text: string, { path, isSecret }: Field): void {
  if (isSecret && !(isUrlField(path) && isUrl(text))) return;
  const open = isUrl(text)
    ? urlPieces(text, path).flatMap((piece) => (piece.secret === undefined ? [piece.text] : []))
    : [text];
  const named = open
    .flatMap((part) => [...part.matchAll(REFERENCE)])
    .find(([reference, inside]) => {
      if (!inside?.startsWith('secret:') || reference === ownReference(connector, path)) return false;
      return parseReference(inside, path).kind === 'own';
    });
  if (named === undefined) return;
  throw new MillraceError(
    'secret_refused',
    `${named[0]} was sealed as a credential, and "${path}" is no place for one: what stands there is shown and sent in the open.`,
    {
      hint: 'Give the credential in the field that is made for it, e.g. "password" or "auth". Nothing was changed.',
    },
  );
}

/** `Bearer ${env:TOKEN}`: the one mixture of text and reference that a credential's field may hold. */
function isSchemeAndReference(text: string): boolean {
  return /^[A-Za-z][A-Za-z0-9-]{0,19} \$\{(env|file|secret):[^{}]+\}$/.test(text);
}

/** Fails early on what can never work; what a person may still have to set is only said. */
async function assertResolves(
  text: string,
  field: Field,
  { context, warnings }: { readonly context: ReferenceContext; readonly warnings: string[] },
): Promise<void> {
  try {
    await revealText(text, field, context);
  } catch (error) {
    if (!(error instanceof MillraceError) || error.code !== 'secret_missing') throw error;
    warnings.push(`"${field.path}": ${error.message} ${error.hint}`);
  }
}

interface Sealing {
  readonly connector: string;
  readonly vault: Vault;
  readonly literals: 'accept' | 'reject';
  readonly sealed: SealedValue[];
  readonly fields: string[];
  readonly warnings: string[];
}

/** The text as it may be kept: itself, or with its literal credentials replaced by references to what was sealed. */
async function sealText(text: string, { path, isSecret }: Field, sealing: Sealing): Promise<string> {
  if (text === '' || wholeReference(text, path)) return text;
  const isAddress = !isSecret || isUrlField(path);
  if (isAddress && isUrl(text)) return await sealUrl(text, path, sealing);
  // An address that is no URL may be a connection string with a password in it: kept readable only when it is made of references.
  const readable = isSecret ? isSchemeAndReference(text) : !isUrlField(path) || text.search(REFERENCE) >= 0;
  if (readable) return text;
  return await sealLiteral(text, path, sealing);
}

/** Only the credentials in it: host and database stay readable, for people and for network rules. */
async function sealUrl(url: string, path: string, sealing: Sealing): Promise<string> {
  let kept = '';
  for (const { text, secret } of urlPieces(url, path)) {
    kept +=
      secret === undefined || wholeReference(text, path)
        ? text
        : await sealLiteral(decoded(text, path), `${path}.${secret}`, sealing);
  }
  return kept;
}

async function sealLiteral(value: string, path: string, sealing: Sealing): Promise<string> {
  const { connector, vault, literals, sealed, fields, warnings } = sealing;
  if (value.includes(MASK)) {
    throw new MillraceError(
      'invalid_config',
      `"${path}" is the mask that stands for a secret, not a value.`,
      {
        hint: 'Leave the field out to keep the secret as it is, or give a new one, best as a reference: "${env:NAME}".',
      },
    );
  }
  if (literals === 'reject') throw rejected(connector, path);
  warnings.push(
    `"${path}" was given in clear, so it has passed through this conversation. It is sealed now; safer is a reference ("\${env:NAME}", "\${file:/path}", "\${secret:NAME}" or "\${ask}") and a new password at the source.`,
  );
  const owner = ownOwner(connector, path);
  if (!(await isStored(vault, owner, value))) {
    sealed.push(vault.seal(owner, value));
    fields.push(path);
  }
  return ownReference(connector, path);
}

/** Connectors of the config file come again with every start: the same value is not sealed anew each time. */
async function isStored(vault: Vault, owner: string, value: string): Promise<boolean> {
  try {
    return (await vault.open(owner)).expose() === value;
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'secret_missing') return false;
    throw error;
  }
}

function rejected(connector: string, path: string): MillraceError {
  const name = `${connector}_${path}`.replaceAll(/[^A-Za-z0-9]+/g, '_').slice(0, 64);
  return new MillraceError(
    'secret_refused',
    `"${path}" holds a credential in clear, and this server takes references only.`,
    {
      hint: `Write "\${ask}": the reply has a link to a page where the person types it. Or ask the person to run \`millrace secret set ${name}\` and write "\${secret:${name}}", or to set an environment variable and write "\${env:MILLRACE_${name.toUpperCase()}}". "literals": "accept" in millrace.secrets of the config file takes values in clear.`,
      who: 'person',
    },
  );
}

function decoded(text: string, path: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new MillraceError('invalid_config', `"${path}" has a % that begins no percent-encoded character.`, {
      hint: 'Write %25 for a % in a URL; nothing was stored.',
    });
  }
}
