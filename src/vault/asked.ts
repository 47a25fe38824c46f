import { randomBytes } from 'node:crypto';
import { MillraceError } from '../core/errors.ts';
import { type ConfigValues, isSecretField, isUrlField, mapStrings } from './config-strings.ts';
import { ownReference } from './references.ts';
import { isUrl, urlPieces } from './url-secrets.ts';

/** A credential that a person is asked for, outside the conversation. */
export interface AskedSecret {
  /** Where it stands: `password`, `auth.token`, `url.password`. */
  readonly field: string;
  /** What its own reference names, another one each time. */
  readonly path: string;
}

/**
 * Each `${ask}` of a config replaced by a reference to a value that nobody has typed yet. What was sealed for the field before
 * has another name and goes with it: it cannot be sent to whatever host the config names now. Throws `invalid_config`
 * for a `${ask}` that stands where no credential does.
 */
export function withAsked(
  connector: string,
  config: ConfigValues,
  secretPaths: readonly string[],
): { readonly config: Record<string, unknown>; readonly asked: readonly AskedSecret[] } {
  const asked: AskedSecret[] = [];
  const standIn = (field: string): string => {
    let one = asked.find((other) => other.field === field);
    if (one === undefined) {
      one = { field, path: `${field}${MARK}${randomBytes(12).toString('base64url')}` };
      asked.push(one);
    }
    return ownReference(connector, one.path);
  };
  const replaced = mapStrings(config, (text, path) => {
    if (!text.includes(ASK)) return text;
    const isSecret = isSecretField(path, secretPaths);
    const result =
      (!isSecret || isUrlField(path)) && isUrl(text)
        ? inUrl(text, path, standIn)
        : isSecret && ALONE.test(text)
          ? text.replace(ASK, () => standIn(path))
          : text;
    if (result.includes(ASK)) throw misplaced(path);
    return result;
  });
  return { config: replaced, asked };
}

/** Whether a text asks for something. */
export function isAsking(text: string): boolean {
  return text.includes(ASK);
}

/** The field that a sealed value was asked for; null for one that was not. */
export function askedField(path: string): string | null {
  const at = path.lastIndexOf(MARK);
  return at < 0 ? null : path.slice(0, at);
}

const ASK = '${ask}';
const MARK = '.asked-';
/** By itself or behind the scheme of an Authorization header. */
const ALONE = /^([A-Za-z][A-Za-z0-9-]{0,19} )?\$\{ask\}$/;

function inUrl(url: string, path: string, standIn: (field: string) => string): string {
  return urlPieces(url, path)
    .map(({ text, secret }) => (secret !== undefined && text === ASK ? standIn(`${path}.${secret}`) : text))
    .join('');
}

function misplaced(path: string): MillraceError {
  return new MillraceError(
    'invalid_config',
    `"${path}" is not asked for on a page: \${ask} stands for a whole credential.`,
    {
      hint: 'Write it alone ("password": "${ask}"), behind a scheme ("Bearer ${ask}") or as the password in a URL; give what is no secret as it is.',
    },
  );
}
