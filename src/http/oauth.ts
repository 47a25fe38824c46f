import { createHash } from 'node:crypto';
import { createRemoteJWKSet, errors, jwtVerify } from 'jose';
import type { Scope } from '../services/services.ts';
import { type Principal, scopesOf } from './principals.ts';
import { type Answer, json } from './reply.ts';

/** `http.oauth` of the config file: whose access tokens are accepted. */
export interface OAuthSettings {
  /** As it stands in the tokens' `iss`. */
  readonly issuer: string;
  /** As it stands in the tokens' `aud`: this server's address, as clients know it. */
  readonly audience: string;
  /** Where the issuer's keys are. */
  readonly jwksUrl: string;
}

export interface OAuthResource {
  readonly metadataUrl: string;
  metadata(path: string): Answer | undefined;
  /** Null for a token that does not hold. Throws when the issuer's keys cannot be had. */
  verify(token: string): Promise<Principal | null>;
}

const SCOPES = ['read', 'operate', 'admin'] as const satisfies readonly Scope[];
/** Clocks differ; more than this would make a token outlive its end noticeably. */
const clockToleranceSeconds = 5;
const metadataPath = '/.well-known/oauth-protected-resource';

/**
 * This server as a resource of an OAuth authorization server: JWT access tokens, judged by signature, issuer, audience and
 * time, with scopes `millrace:read`, `millrace:operate`, `millrace:admin` (or the bare words). Only asymmetric signatures.
 */
export function createOAuthResource({ issuer, audience, jwksUrl }: OAuthSettings): OAuthResource {
  const keys = createRemoteJWKSet(new URL(jwksUrl), { timeoutDuration: 5_000 });
  const metadataUrl = new URL(metadataPath, audience).href;
  const document = {
    resource: audience,
    authorization_servers: [issuer],
    scopes_supported: SCOPES.map((scope) => `millrace:${scope}`),
    bearer_methods_supported: ['header'],
  };
  return {
    metadataUrl,
    metadata: (path) =>
      path === metadataPath || path === `${metadataPath}/mcp` ? json(200, document) : undefined,
    async verify(token) {
      try {
        const { payload } = await jwtVerify(token, keys, {
          issuer,
          audience,
          clockTolerance: clockToleranceSeconds,
          requiredClaims: ['exp'],
          algorithms: ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA', 'RS512', 'PS512'],
        });
        const words = String(payload['scope'] ?? '').split(' ');
        const given = SCOPES.filter((scope) => words.includes(scope) || words.includes(`millrace:${scope}`));
        const who = payload.sub ?? payload['client_id'];
        if (given.length === 0 || typeof who !== 'string' || who === '') return null;
        return { name: `oauth:${nameOf(who)}`, scopes: scopesOf(given) };
      } catch (error) {
        if (error instanceof errors.JWKSTimeout || !(error instanceof errors.JOSEError)) throw error;
        return null;
      }
    },
  };
}

const nameChars = 100;

/** A subject short enough for a log. Two long ones that begin alike stay two: sessions and confirmations are kept apart by it. */
function nameOf(who: string): string {
  if (who.length <= nameChars) return who;
  return `${who.slice(0, nameChars)}…${createHash('sha256').update(who).digest('hex').slice(0, 16)}`;
}
