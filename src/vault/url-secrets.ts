import { MillraceError } from '../core/errors.ts';
import { isSecretName } from '../core/redact.ts';
import { REFERENCE } from './references.ts';

/** A piece of a URL and where it stands. Joined in order, the pieces' texts are the URL. */
export interface UrlPiece {
  readonly text: string;
  /** Credentials: the password before `@`, the value of a parameter named like one. `name` says which. */
  readonly secret?: string;
  /** Whether what is put in here has to be percent-encoded: user, password, parameters. */
  readonly encoded: boolean;
}

/** Whether a text is a URL with `//`, whatever its scheme. */
export function isUrl(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(text);
}

/**
 * A URL taken apart, references in it left whole. Throws `invalid_config` when a password seems to hold characters that
 * end it early: such a URL reaches no host, and its password would be taken for something harmless.
 */
export function urlPieces(url: string, field: string): readonly UrlPiece[] {
  // A reference may hold slashes, and they end no part of the URL: each is one character while it is taken apart.
  const references: string[] = [];
  const plain = url.replaceAll(REFERENCE, (text) =>
    String.fromCharCode(PRIVATE_USE + references.push(text) - 1),
  );
  const back = (text: string): string =>
    text.replaceAll(PLACEHOLDER, (at) => references[at.charCodeAt(0) - PRIVATE_USE] ?? '');

  const [, scheme = '', authority = '', path = '', query = '', fragment = ''] =
    /^([^:]+:\/\/)([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?$/s.exec(plain) ?? [];
  const at = authority.lastIndexOf('@');
  if (at < 0 && authority.includes(':') && /@/.test(path + query + fragment)) throw cutShort(field);
  const userinfo = authority.slice(0, Math.max(at, 0));
  const colon = userinfo.indexOf(':');
  const user = colon < 0 ? userinfo : userinfo.slice(0, colon + 1);
  const password = colon < 0 ? '' : userinfo.slice(colon + 1);
  const pieces: readonly UrlPiece[] = [
    { text: scheme, encoded: false },
    { text: user, encoded: true },
    ...(password === '' ? [] : [{ text: password, secret: 'password', encoded: true }]),
    { text: authority.slice(Math.max(at, 0)), encoded: false },
    { text: path, encoded: false },
    ...queryPieces(query),
    { text: fragment, encoded: true },
  ];
  return pieces.map((piece) => ({ ...piece, text: back(piece.text) }));
}

function queryPieces(query: string): readonly UrlPiece[] {
  return query.split(/(?<=[?&])|(?=&)/).flatMap((part) => {
    const equals = part.indexOf('=');
    const name = part.slice(0, Math.max(equals, 0));
    if (equals < 0 || equals === part.length - 1 || !isSecretName(name))
      return [{ text: part, encoded: true }];
    return [
      { text: part.slice(0, equals + 1), encoded: true },
      { text: part.slice(equals + 1), secret: name, encoded: true },
    ];
  });
}

/** Characters that no URL holds unencoded and that no part of it ends at. */
const PRIVATE_USE = 0xe000;
const PLACEHOLDER = /[\ue000-\uf8ff]/g;

function cutShort(field: string): MillraceError {
  return new MillraceError(
    'invalid_config',
    `"${field}" cannot be taken apart: its user or password holds a character that ends it.`,
    {
      hint: 'Percent-encode / ? # and @ in user and password (%2F %3F %23 %40), or give them as fields of their own; nothing was stored.',
    },
  );
}
