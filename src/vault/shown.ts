import { MASK } from '../core/redact.ts';
import { askedField } from './asked.ts';
import { type ConfigValues, isSecretField, isUrlField, mapStrings, stringsOf } from './config-strings.ts';
import { REFERENCE } from './references.ts';
import { isUrl, urlPieces } from './url-secrets.ts';

/** A config as people and results may see it: `•••• (env NAME)`, `•••• (stored)`; passwords in URLs masked. */
export function showConfig(config: ConfigValues, secretPaths: readonly string[]): Record<string, unknown> {
  return mapStrings(config, (text, path) => showText(text, path, isSecretField(path, secretPaths)));
}

/**
 * What `showConfig` masked, put back from the config that it showed. A mask whose field is not there any more stays, and
 * is refused when it comes to sealing.
 */
export function unmaskConfig(
  config: ConfigValues,
  before: ConfigValues,
  secretPaths: readonly string[],
): Record<string, unknown> {
  const kept = new Map(stringsOf(before).map(({ path, text }) => [path, text]));
  return mapStrings(config, (text, path) => {
    const was = kept.get(path);
    if (was === undefined || !text.includes(MASK)) return text;
    if (text === showText(was, path, isSecretField(path, secretPaths))) return was;
    return isUrl(text) && isUrl(was) ? unmaskUrl(text, was, path) : text;
  });
}

function showText(text: string, path: string, isSecret: boolean): string {
  if (text === '') return text;
  const isAddress = !isSecret || isUrlField(path);
  if (isAddress && isUrl(text)) return showUrl(text, path);
  // A whole reference says where an address comes from and nothing more; where one is sealed or malformed, no more is said.
  const origin = originOf(text);
  if (!isSecret && !isUrlField(path)) return text;
  if (isAddress && origin !== null && !OWN.has(origin)) return text;
  return origin === null ? MASK : `${MASK} (${origin})`;
}

/** The same URL with another host, say, and the mask where the password was. */
function unmaskUrl(url: string, was: string, path: string): string {
  const secrets = new Map(urlPieces(was, path).map(({ secret, text }) => [secret, text]));
  return urlPieces(url, path)
    .map(({ text, secret }) => (secret !== undefined && text === MASK ? (secrets.get(secret) ?? text) : text))
    .join('');
}

function showUrl(url: string, path: string): string {
  try {
    return urlPieces(url, path)
      .map(({ text, secret }) => (secret === undefined ? text : MASK))
      .join('');
  } catch {
    return MASK; // it cannot be told where the password ends
  }
}

/** `env NAME`, `file /path`, `secret NAME`; for a connector's own `stored`, or `asked` for one that a person types; null without a reference. */
function originOf(text: string): string | null {
  const inside = [...text.matchAll(REFERENCE)][0]?.[1];
  if (inside === undefined) return null;
  const [kind = '', rest = ''] = splitOnce(inside);
  if (kind === 'secret' && rest.includes('.')) return askedField(rest) === null ? 'stored' : 'asked';
  return kind === 'env' || kind === 'file' || kind === 'secret' ? `${kind} ${rest}` : null;
}

const OWN: ReadonlySet<string> = new Set(['stored', 'asked']);

function splitOnce(inside: string): readonly string[] {
  const colon = inside.indexOf(':');
  return colon < 0 ? [inside] : [inside.slice(0, colon), inside.slice(colon + 1)];
}
