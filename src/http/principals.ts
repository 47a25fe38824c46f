import { createHash, timingSafeEqual } from 'node:crypto';
import type { Scope } from '../services/services.ts';
import type { OAuthResource } from './oauth.ts';
import { type Answer, text } from './reply.ts';

/** Who sends a request, and what they may have done. Without a name: whoever can reach a server that asks for no token. */
export interface Principal {
  readonly name: string;
  readonly scopes: ReadonlySet<Scope>;
}

/** A bearer token as it is kept: its hash, never itself. */
export interface KnownToken {
  readonly name: string;
  /** SHA-256 of the token, 32 bytes. */
  readonly hash: Uint8Array;
  readonly scopes: readonly Scope[];
}

export interface Doorkeeper {
  /** The principal of an `Authorization` header; else the answer that says what is missing. */
  admit(authorization: string | undefined, path: string): Promise<Principal | Answer>;
  /** The protected-resource metadata where that is what the path asks for (RFC 9728). */
  metadata(path: string): Answer | undefined;
}

/** A scope brings what is below it. */
const IMPLIED: Readonly<Record<Scope, readonly Scope[]>> = {
  read: ['read'],
  operate: ['read', 'operate'],
  admin: ['read', 'operate', 'admin'],
};
const everything: ReadonlySet<Scope> = new Set(IMPLIED.admin);

/** The scopes that are given, with those that they bring. */
export function scopesOf(given: readonly Scope[]): ReadonlySet<Scope> {
  return new Set(given.flatMap((scope) => IMPLIED[scope]));
}

/** A token's hash, as it is kept and compared. */
export function hashOf(token: string): Uint8Array {
  return createHash('sha256').update(token).digest();
}

/**
 * Who may come in. Without tokens and without an authorization server everybody who reaches the port may do everything,
 * which is why only loopback is served then. All hashes are compared, each in constant time: how long it takes says nothing.
 */
export function createDoorkeeper(tokens: readonly KnownToken[], oauth: OAuthResource | null): Doorkeeper {
  const isOpen = tokens.length === 0 && oauth === null;
  const known = (token: string): Principal | null => {
    const hash = hashOf(token);
    let found: KnownToken | undefined;
    for (const candidate of tokens) if (timingSafeEqual(candidate.hash, hash)) found = candidate;
    return found === undefined ? null : { name: found.name, scopes: scopesOf(found.scopes) };
  };
  return {
    metadata: (path) => oauth?.metadata(path),
    async admit(authorization, path) {
      if (isOpen) return { name: '', scopes: everything };
      const token = tokenOf(authorization);
      const principal = token === null ? null : (known(token) ?? (await oauth?.verify(token)) ?? null);
      return principal ?? refused({ path, hadToken: token !== null, metadataUrl: oauth?.metadataUrl });
    },
  };
}

/** A browser that asks for a name and a password sends the token as the password. */
function tokenOf(authorization: string | undefined): string | null {
  const [, scheme = '', value = ''] =
    /^(Bearer|Basic) +([A-Za-z0-9._~+/=-]{1,8000})$/i.exec(authorization ?? '') ?? [];
  if (scheme === '') return null;
  if (scheme.toLowerCase() === 'bearer') return value;
  const pair = Buffer.from(value, 'base64').toString('utf8');
  return pair.slice(pair.indexOf(':') + 1);
}

function refused(request: {
  readonly path: string;
  readonly hadToken: boolean;
  readonly metadataUrl: string | undefined;
}): Answer {
  const { path, hadToken, metadataUrl } = request;
  const error = hadToken ? ', error="invalid_token"' : '';
  const where = metadataUrl === undefined ? '' : `, resource_metadata="${metadataUrl}"`;
  const bearer = `Bearer realm="millrace"${error}${where}`;
  return text(
    401,
    `${hadToken ? 'That token is not known here (any more).' : 'A token is needed.'} Whoever runs this server has made one: "http.tokens" of its config file.`,
    // A browser is asked only for its own page; MCP clients would take Basic for what they are to send.
    {
      'www-authenticate':
        path === '/' ? `Basic realm="millrace: the token is the password", charset="UTF-8"` : bearer,
    },
  );
}
